# python tools/train.py configs/lora_stl/quickstart_multitask.py
_base_ = '../_base_/msam/quickstart_multitask.py'
model = dict(backbone=dict(peft=dict(type='TaskLoRA', rank=8, alpha=8)))
