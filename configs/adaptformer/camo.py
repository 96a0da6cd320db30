# python tools/train.py configs/adaptformer/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='AdaptFormer')))
