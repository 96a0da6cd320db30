# python tools/train.py configs/decoder_only/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
