# python tools/train.py configs/lora_hps/cityscapes.py
_base_ = '../_base_/msam/cityscapes.py'
model = dict(backbone=dict(peft=dict(type='LoRA', rank=32, alpha=32)))
