# Your own images with labels of several tasks. Put them under data_root as
#     img_dir/{train,val,test}/NAME.jpg        (also .jpeg .png .bmp .tif .tiff)
#     <task's name>_dir/{train,val,test}/NAME.png, or .npy, of the image's width and height; an image may lack some. They hold
#         classes (SemanticSegmentation, HumanParts)   class numbers 0, 1, 2, ...; 255, in .npy also -1, = ignored
#         depth (Depth, InverseDepth)                  16-bit PNG in steps of depth_unit metres, or .npy in metres; 0 = unknown
#         normals (SurfaceNormals)                     RGB of 8 bit, v / 127.5 - 1, or .npy (H, W, 3); grey or zero = unknown.
#                                                      x to the right; tools/dataset_converters/pseudo_normals.py derives some
#         masks (Saliency, Edges)                      0 and 255
dataset_type = 'MultiTaskDataset'
data_root = 'data/custom_multitask/'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=2),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
]
depth_unit = 0.001
image_size = 1024  # of the long side; labels stay as they are, losses and metrics are computed at their size

train_pipeline = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='MultiTaskZoomCrop', scales=(1, 1.2, 1.5)),
    dict(type='MultiTaskFlip', prob=0.5),
    dict(type='MultiTaskResize', size=image_size),
    dict(type='PackMultiTaskInputs'),
]
test_pipeline = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='MultiTaskResize', size=image_size),
    dict(type='PackMultiTaskInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        depth_unit=depth_unit,
        split='train',
        tasks=tasks,
        pipeline=train_pipeline))

val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        depth_unit=depth_unit,
        split='val',
        tasks=tasks,
        pipeline=test_pipeline))

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        depth_unit=depth_unit,
        split='test',
        tasks=tasks,
        pipeline=test_pipeline))

val_evaluator = dict(type='MultiTaskMetric', tasks=tasks)
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='seg/mIoU', rule='greater'),
    visualization=dict(type='PanelHook', interval=20))
