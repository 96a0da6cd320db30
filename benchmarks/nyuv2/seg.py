# python tools/train.py benchmarks/nyuv2/seg.py: one task alone
_base_ = 'base.py'
tasks = [_base_.tasks[0]]
model = dict(tasks=tasks)
train_dataloader = dict(dataset=dict(tasks=tasks))
val_dataloader = dict(dataset=dict(tasks=tasks))
test_dataloader = val_dataloader
val_evaluator = dict(tasks=tasks)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='seg/mIoU', rule='greater'))
