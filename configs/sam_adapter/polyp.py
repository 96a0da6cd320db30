# python tools/train.py configs/sam_adapter/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
