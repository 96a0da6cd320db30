# python tools/train.py configs/from_scratch/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
