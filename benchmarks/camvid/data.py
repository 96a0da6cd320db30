# CamVid at 320 x 240, batch 4, mIoU
_base_ = '../../configs/_base_/datasets/camvid.py'
size = (320, 240)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
