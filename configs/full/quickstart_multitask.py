# python tools/train.py configs/full/quickstart_multitask.py
_base_ = '../_base_/msam/quickstart_multitask.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 3e-4  # the whole encoder needs smaller steps
