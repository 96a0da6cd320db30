# python tools/train.py configs/talora/cityscapes.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/msam.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/adam_200e.py',
]
model = dict(tasks=_base_.tasks, backbone=dict(peft=dict(type='TALoRA', num_tasks=len(_base_.tasks))))
