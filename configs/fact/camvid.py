# python tools/train.py configs/fact/camvid.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_multiclass.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/adamw_30e.py',
]
model = dict(
    backbone=dict(peft=dict(type='FacT')),
    decode_head=dict(num_classes=11, num_queries=22))
