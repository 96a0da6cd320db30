# python tools/train.py configs/vpt/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(backbone=dict(peft=dict(type='VPT')))
