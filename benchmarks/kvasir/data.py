# Kvasir-SEG at 192 x 192, batch 8, Dice and IoU per image
_base_ = '../../configs/_base_/datasets/kvasir.py'
image_size = 192
train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
val_dataloader = test_dataloader = dict(batch_size=8)
val_evaluator = test_evaluator = [dict(type='BinaryMetric')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=125, save_best='Dice'))
