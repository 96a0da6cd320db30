# python tools/train.py configs/full/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 3e-5  # the whole encoder needs smaller steps
