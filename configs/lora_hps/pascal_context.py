# python tools/train.py configs/lora_hps/pascal_context.py
_base_ = '../_base_/msam/pascal_context.py'
model = dict(backbone=dict(peft=dict(type='LoRA', rank=32, alpha=32)))
