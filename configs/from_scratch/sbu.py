# python tools/train.py configs/from_scratch/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
