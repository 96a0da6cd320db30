# python tools/train.py configs/fact/trans10k.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_multiclass.py',
    '../_base_/datasets/trans10k.py',
    '../_base_/schedules/adamw_30e.py',
]
# 30 epochs are our choice: we know of no published number for this data
model = dict(
    backbone=dict(peft=dict(type='FacT')),
    decode_head=dict(num_classes=12, num_queries=24))
