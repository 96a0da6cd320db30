# python tools/train.py configs/dora/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(backbone=dict(peft=dict(type='DoRA')))
