# python tools/train.py configs/full/isic2017.py
_base_ = '../_base_/sam/isic2017.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-5  # the whole encoder needs smaller steps
