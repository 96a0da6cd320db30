# python tools/train.py configs/convlora/leaf.py
_base_ = '../_base_/sam/leaf.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA')))
