# python tools/train.py configs/from_scratch/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
