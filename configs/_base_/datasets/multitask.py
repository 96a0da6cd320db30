# Shared by data sets of several tasks: pipelines and loaders. A data set's own file adds its type,
# root, tasks, and what differs

# The image's long side; to change it, set image_size: it also reaches the model. Labels keep their
# size; losses and metrics are computed at it.
size = 1024

train_pipeline = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='MultiTaskZoomCrop', scales=(1, 1.2, 1.5)),
    dict(type='MultiTaskFlip', prob=0.5),
    dict(type='MultiTaskResize', size=size),
    dict(type='PackMultiTaskInputs'),
]
test_pipeline = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='MultiTaskResize', size=size),
    dict(type='PackMultiTaskInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = test_evaluator = dict(type='MultiTaskMetric')
default_hooks = dict(
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='seg/mIoU', rule='greater'),
    visualization=dict(type='PanelHook', interval=20))
