# python tools/train.py configs/decoder_only/pascal_context.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/msam.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/adam_200e.py',
]
model = dict(tasks=_base_.tasks, backbone=dict(peft=dict(type='Frozen')))
