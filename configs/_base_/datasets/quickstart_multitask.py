# Shapes on a floor, generated: 200 + 50 + 50 images of 128 x 128 with classes, depth and normals, drawn into data_root on
# first use (some seconds)
dataset_type = 'MultiTaskQuickstartDataset'
data_root = 'data/quickstart_multitask/'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=5),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
image_size = 256  # of the image; labels stay as they are, losses and metrics are computed at their size

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
        split='train',
        num_images=200,
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
        split='test',
        tasks=tasks,
        pipeline=test_pipeline))

val_evaluator = dict(type='MultiTaskMetric', tasks=tasks)
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='seg/mIoU', rule='greater'),
    visualization=dict(type='PanelHook', interval=20))
