# python tools/train.py configs/fact/kvasir.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/kvasir.py',
    '../_base_/schedules/adamw_30e.py',
]
model = dict(backbone=dict(peft=dict(type='FacT')))
