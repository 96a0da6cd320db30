# python tools/train.py configs/talora/cityscapes.py
_base_ = '../_base_/msam/cityscapes.py'
model = dict(backbone=dict(peft=dict(type='TALoRA')))
