# python tools/train.py configs/decoder_only/quickstart_multitask.py
_base_ = '../_base_/msam/quickstart_multitask.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
