# python tools/train.py configs/dora/camvid.py
_base_ = '../_base_/sam/camvid.py'
model = dict(backbone=dict(peft=dict(type='DoRA')))
