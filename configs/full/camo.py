# python tools/train.py configs/full/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-5  # the whole encoder needs smaller steps
