# python tools/train.py configs/norm/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(backbone=dict(peft=dict(type='NormTuning')))
