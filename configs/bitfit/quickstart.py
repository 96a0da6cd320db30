# python tools/train.py configs/bitfit/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='BitFit')))
