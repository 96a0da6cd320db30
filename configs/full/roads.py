# python tools/train.py configs/full/roads.py
_base_ = '../_base_/sam/roads.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 3e-5  # the whole encoder needs smaller steps
