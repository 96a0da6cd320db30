# PASCAL-Context as in PASCAL_MT, 4998 + 5105 images: JPEGImages, ImageSets/Context, semseg, human_parts, normals_distill,
# sal_distill, pascal-context/trainval. For edges add dict(type='Edges', name='edges', weight=50.0).
dataset_type = 'PASCALMTDataset'
data_root = 'data/pascal_mt/'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=21),
    dict(type='HumanParts', name='parts', weight=2.0),
    dict(type='SurfaceNormals', name='normals', weight=10.0),
    dict(type='Saliency', name='saliency', weight=5.0),
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
        split='val',
        tasks=tasks,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='MultiTaskMetric', tasks=tasks)
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='seg/mIoU', rule='greater'),
    visualization=dict(type='PanelHook', interval=20))
