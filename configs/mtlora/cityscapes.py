# python tools/train.py configs/mtlora/cityscapes.py
_base_ = '../_base_/msam/cityscapes.py'
model = dict(backbone=dict(peft=dict(type='TaskLoRA', rank=32, alpha=32, shared_rank=32)))
