# python tools/train.py configs/lora_stl/cityscapes_depth.py
_base_ = './cityscapes.py'
tasks = _base_.tasks[1:2]
model = dict(tasks=tasks, backbone=dict(peft=dict(num_tasks=1)))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(tasks=tasks))
val_evaluator = test_evaluator = dict(tasks=tasks)
default_hooks = dict(checkpoint=dict(save_best='depth/RErr', rule='less'))
