# python tools/train.py configs/adaptformer/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(backbone=dict(peft=dict(type='AdaptFormer')))
