# python tools/train.py configs/mtlora/pascal_context.py
_base_ = '../_base_/msam/pascal_context.py'
model = dict(backbone=dict(peft=dict(type='TaskLoRA', rank=32, alpha=32, shared_rank=32)))
