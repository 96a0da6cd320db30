# python tools/train.py configs/sam_adapter/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
