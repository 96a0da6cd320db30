# python tools/train.py configs/decoder_only/pascal_context.py
_base_ = '../_base_/msam/pascal_context.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
