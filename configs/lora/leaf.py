# python tools/train.py configs/lora/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(backbone=dict(peft=dict(type='LoRA')))
