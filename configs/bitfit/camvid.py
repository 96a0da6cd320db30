# python tools/train.py configs/bitfit/camvid.py
_base_ = '../_base_/sam/camvid.py'
model = dict(backbone=dict(peft=dict(type='BitFit')))
