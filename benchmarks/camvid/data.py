# CamVid at 320 x 240, batch 4, mIoU
_base_ = '../../configs/_base_/datasets/camvid.py'
image_size = (240, 320)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
val_dataloader = test_dataloader = dict(batch_size=8)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
