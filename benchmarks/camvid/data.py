# CamVid at 384 x 288, batch 8, mIoU
_base_ = '../../configs/_base_/datasets/camvid.py'
size = (384, 288)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
train_dataloader = dict(batch_size=8, sampler=dict(type='InfiniteSampler', shuffle=True), dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
