# NYUv2 as published with MTAN: {train,val}/{image,label,depth,normal}/*.npy, 795 + 654 images of 288 x 384.
# Other forms of it, see NYUv2Dataset: layout = 'nyud_mt' (40 classes), or 'folder' (its second split is 'test'; what
# tools/dataset_converters/nyuv2_mat.py writes; tools/dataset_converters/pseudo_normals.py derives the normals it lacks).
dataset_type = 'NYUv2Dataset'
data_root = 'data/nyuv2/'
layout = 'mtan'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=13),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
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
        layout=layout,
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
        layout=layout,
        split='val',
        tasks=tasks,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='MultiTaskMetric', tasks=tasks)
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='seg/mIoU', rule='greater'),
    visualization=dict(type='PanelHook', interval=20))
