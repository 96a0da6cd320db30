# python tools/train.py configs/from_scratch/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
