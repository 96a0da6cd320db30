# python tools/train.py configs/norm/roads.py
_base_ = '../_base_/sam/roads.py'
model = dict(backbone=dict(peft=dict(type='NormTuning')))
