# python tools/train.py configs/from_scratch/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
