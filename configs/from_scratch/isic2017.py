# python tools/train.py configs/from_scratch/isic2017.py
_base_ = '../_base_/sam/isic2017.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
