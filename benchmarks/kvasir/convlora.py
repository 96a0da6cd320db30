# python tools/train.py benchmarks/kvasir/convlora.py
_base_ = 'base.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA', rank=4), unfreeze=['neck']))
