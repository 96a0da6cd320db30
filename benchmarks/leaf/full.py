# python tools/train.py benchmarks/leaf/full.py --cfg-options model.checkpoint=FILE
_base_ = 'base.py'
model = dict(backbone=dict(peft=dict(type='Full')))
optim_wrapper = dict(optimizer=dict(lr=2e-4))
