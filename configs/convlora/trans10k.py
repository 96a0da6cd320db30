# python tools/train.py configs/convlora/trans10k.py
_base_ = '../_base_/sam/trans10k.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA', balance_weight=2.0)))
