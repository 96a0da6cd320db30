# python tools/train.py configs/talora/quickstart_multitask.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/msam_quickstart.py', '../_base_/datasets/quickstart_multitask.py',
          '../_base_/schedules/quickstart_multitask.py']
model = dict(
    tasks=_base_.tasks,
    backbone=dict(peft=dict(type='TALoRA', num_tasks=len(_base_.tasks), ranks=(8, 8, 4), scale=2.0, orthonormal=True)))
randomness = dict(seed=0)
