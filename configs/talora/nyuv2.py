# python tools/train.py configs/talora/nyuv2.py
_base_ = '../_base_/msam/nyuv2.py'
model = dict(backbone=dict(peft=dict(type='TALoRA')))
