# python tools/train.py configs/full/quickstart_multitask.py
_base_ = ['../_base_/default_runtime.py', '../_base_/models/msam_quickstart.py', '../_base_/datasets/quickstart_multitask.py',
          '../_base_/schedules/quickstart_multitask.py']
model = dict(tasks=_base_.tasks, backbone=dict(peft=dict(type='Full')))
optim_wrapper = dict(optimizer=dict(lr=3e-4))  # a pretrained encoder as a whole takes smaller steps than adapters on it
randomness = dict(seed=0)
