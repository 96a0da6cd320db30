# python tools/train.py configs/sam_adapter/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
