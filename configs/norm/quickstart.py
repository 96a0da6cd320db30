# python tools/train.py configs/norm/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='NormTuning')))
