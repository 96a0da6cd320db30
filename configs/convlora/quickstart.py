# python tools/train.py configs/convlora/quickstart.py
_base_ = '../_base_/sam/quickstart.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA', num_experts=4)))
