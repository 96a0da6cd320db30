# python tools/train.py configs/convlora/camo.py
_base_ = '../_base_/sam/camo.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA')))
