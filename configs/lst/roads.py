# python tools/train.py configs/lst/roads.py
_base_ = '../_base_/sam/roads.py'
model = dict(backbone=dict(peft=dict(type='LST')))
