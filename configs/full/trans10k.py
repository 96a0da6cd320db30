# python tools/train.py configs/full/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-5  # the whole encoder needs smaller steps
