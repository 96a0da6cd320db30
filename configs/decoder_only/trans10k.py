# python tools/train.py configs/decoder_only/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(backbone=dict(peft=dict(type='Frozen')))
