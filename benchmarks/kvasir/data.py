# Kvasir-SEG at 192 x 192, batch 8, Dice and IoU per image
_base_ = '../../configs/_base_/datasets/kvasir.py'
size = (192, 192)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
val_evaluator = test_evaluator = [dict(type='BinaryMetric')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=125, save_best='Dice'))
