# python tools/train.py configs/sam_adapter/roads.py
_base_ = '../_base_/sam/roads.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
