# python tools/train.py configs/dora/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(backbone=dict(peft=dict(type='DoRA')))
