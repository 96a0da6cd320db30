# python tools/train.py configs/full/pascal_context.py
_base_ = '../_base_/msam/pascal_context.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-4  # the whole encoder needs smaller steps
