# python tools/train.py configs/full/kvasir.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/kvasir.py',
    '../_base_/schedules/adamw_30e.py',
]
model = dict(backbone=dict(peft=dict(type='Full')))
optim_wrapper = dict(optimizer=dict(lr=1e-5))  # a pretrained encoder as a whole takes smaller steps than adapters on it
