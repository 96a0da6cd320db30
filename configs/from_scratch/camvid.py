# python tools/train.py configs/from_scratch/camvid.py
_base_ = '../_base_/sam/camvid.py'
model = dict(checkpoint=None, backbone=dict(peft=dict(type='Full')))
