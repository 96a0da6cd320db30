# python tools/train.py configs/lora_stl/nyuv2.py
_base_ = '../_base_/msam/nyuv2.py'
model = dict(backbone=dict(peft=dict(type='TaskLoRA', rank=32, alpha=32)))
