# python tools/train.py benchmarks/kvasir/lora.py
_base_ = 'base.py'
model = dict(backbone=dict(peft=dict(type='LoRA', rank=4), unfreeze=['neck']))
