# python tools/train.py configs/norm/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(backbone=dict(peft=dict(type='NormTuning')))
