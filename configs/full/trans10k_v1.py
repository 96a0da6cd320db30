# python tools/train.py configs/full/trans10k_v1.py
_base_ = '../_base_/sam/trans10k_v1.py'
model = dict(backbone=dict(peft=dict(type='Full')))
lr = 1e-5  # the whole encoder needs smaller steps
