# python tools/train.py configs/ssf/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
model = dict(backbone=dict(peft=dict(type='SSF')))
