# python tools/train.py configs/from_scratch/roads.py
_base_ = '../_base_/sam/roads.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
