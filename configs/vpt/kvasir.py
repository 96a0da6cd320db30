# python tools/train.py configs/vpt/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(backbone=dict(peft=dict(type='VPT')))
