# python tools/train.py configs/dora/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='DoRA')))
