# python tools/train.py configs/dinov3/kvasir.py
_base_ = '../_base_/sam/kvasir.py'
encoder = 'dinov3_vits16'
model = dict(backbone=dict(peft=dict(type='LoRA')))
