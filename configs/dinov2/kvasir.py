# python tools/train.py configs/dinov2/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
encoder = 'dinov2_small'
model = dict(backbone=dict(peft=dict(type='LoRA')))
