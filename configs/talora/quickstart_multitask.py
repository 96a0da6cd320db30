# python tools/train.py configs/talora/quickstart_multitask.py
_base_ = '../_base_/msam/quickstart_multitask.py'
model = dict(backbone=dict(peft=dict(type='TALoRA', ranks=(8, 8, 4), scale=2.0, orthonormal=True)))
