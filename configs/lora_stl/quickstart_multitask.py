# python tools/train.py configs/lora_stl/quickstart_multitask.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/msam_quickstart.py', '../_base_/datasets/quickstart_multitask.py',
          '../_base_/schedules/quickstart_multitask.py']
model = dict(tasks=_base_.tasks, backbone=dict(peft=dict(type='TaskLoRA', num_tasks=len(_base_.tasks), rank=8, alpha=8)))
randomness = dict(seed=0)
