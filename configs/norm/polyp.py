# python tools/train.py configs/norm/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(backbone=dict(peft=dict(type='NormTuning')))
