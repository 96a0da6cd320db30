# python tools/train.py configs/adaptformer/polyp.py
_base_ = '../_base_/sam/polyp.py'
model = dict(backbone=dict(peft=dict(type='AdaptFormer')))
