# python tools/train.py configs/dora/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='DoRA')))
