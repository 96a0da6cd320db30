# python tools/train.py benchmarks/kvasir/decoder_only.py
_base_ = 'base.py'
model = dict(backbone=dict(peft=dict(type='Frozen'), unfreeze=['neck']))
