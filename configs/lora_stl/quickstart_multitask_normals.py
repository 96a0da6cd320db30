# python tools/train.py configs/lora_stl/quickstart_multitask_normals.py
_base_ = './quickstart_multitask.py'
tasks = _base_.tasks[2:3]
model = dict(tasks=tasks, backbone=dict(peft=dict(num_tasks=1)))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(tasks=tasks))
val_evaluator = test_evaluator = dict(tasks=tasks)
default_hooks = dict(checkpoint=dict(save_best='normals/mean', rule='less'))
