# python tools/train.py configs/full/cityscapes.py
_base_ = '../_base_/msam/cityscapes.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-4  # the whole encoder needs smaller steps
