# python tools/train.py configs/full/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-5  # the whole encoder needs smaller steps
