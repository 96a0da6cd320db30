# python tools/train.py configs/sam_adapter/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
