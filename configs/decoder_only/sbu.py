# python tools/train.py configs/decoder_only/sbu.py
_base_ = '../_base_/sam/sbu.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
