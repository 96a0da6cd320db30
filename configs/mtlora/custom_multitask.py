# python tools/train.py configs/mtlora/custom_multitask.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/msam.py',
    '../_base_/datasets/custom_multitask.py',
    '../_base_/schedules/adam_200e.py',
]

# Your data. configs/_base_/datasets/custom_multitask.py says how the folders look.
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=2),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
]
data = dict(data_root='data/custom_multitask/', depth_unit=0.001, tasks=tasks)  # depth_unit: metres
best = dict(save_best='seg/mIoU', rule='greater')  # what the best checkpoint is chosen by, as TASK/METRIC; 'less' for errors

model = dict(tasks=tasks, backbone=dict(peft=dict(type='TaskLoRA', num_tasks=len(tasks), rank=32, alpha=32, shared_rank=32)))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = test_evaluator = dict(tasks=tasks)
default_hooks = dict(checkpoint=best)
