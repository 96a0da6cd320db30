# python tools/train.py configs/full/nyuv2.py
_base_ = '../_base_/msam/nyuv2.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-4  # the whole encoder needs smaller steps
