# python tools/train.py configs/from_scratch/trans10k_v1.py
_base_ = '../_base_/sam/trans10k_v1.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
