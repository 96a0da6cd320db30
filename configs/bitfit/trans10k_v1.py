# python tools/train.py configs/bitfit/trans10k_v1.py
_base_ = '../_base_/sam/trans10k_v1.py'
model = dict(backbone=dict(peft=dict(type='BitFit')))
