# NYUv2 as folders at 192 x 144, 13 classes, depth and pseudo-normals of
# tools/dataset_converters/pseudo_normals.py, batch 4
_base_ = '../../configs/_base_/datasets/nyuv2.py'
tasks, size = _base_.tasks, 192
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[4].size = test_pipeline[2].size = size
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(layout='folder', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4, dataset=dict(layout='folder', split='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=300))
