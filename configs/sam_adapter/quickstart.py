# python tools/train.py configs/sam_adapter/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='SAMAdapter')))
