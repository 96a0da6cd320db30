# python tools/train.py configs/decoder_only/cityscapes.py
_base_ = '../_base_/msam/cityscapes.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
