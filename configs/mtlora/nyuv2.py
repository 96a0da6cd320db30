# python tools/train.py configs/mtlora/nyuv2.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/msam.py',
    '../_base_/datasets/nyuv2.py',
    '../_base_/schedules/adam_200e.py',
]
model = dict(
    tasks=_base_.tasks,
    backbone=dict(peft=dict(type='TaskLoRA', num_tasks=len(_base_.tasks), rank=32, alpha=32, shared_rank=32)))
