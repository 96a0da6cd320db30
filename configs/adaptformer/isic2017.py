# python tools/train.py configs/adaptformer/isic2017.py
_base_ = '../_base_/sam/isic2017.py'
model = dict(backbone=dict(peft=dict(type='AdaptFormer')))
