# python tools/train.py configs/from_scratch/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
