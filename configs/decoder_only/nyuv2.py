# python tools/train.py configs/decoder_only/nyuv2.py
_base_ = '../_base_/msam/nyuv2.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
