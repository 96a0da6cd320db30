# python tools/train.py configs/convlora/camvid.py
_base_ = '../_base_/sam/camvid.py'
model = dict(backbone=dict(peft=dict(type='ConvLoRA', balance_weight=2.0)))
