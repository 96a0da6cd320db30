# Shapes on a floor, generated: 200 + 50 + 50 images of 128 x 128 with classes, depth and normals,
# drawn into data_root on first use (a few seconds)
_base_ = 'multitask.py'
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[4].size = test_pipeline[2].size = 256
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=5),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
data = dict(type='MultiTaskQuickstartDataset', data_root='data/quickstart_multitask/', tasks=tasks)
train_dataloader = dict(dataset=dict(data, num_images=200, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data, split='test', pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(tasks=tasks)
