# python tools/train.py configs/talora/custom_multitask.py
# For another method: --cfg-options model.backbone.peft.type=LoRA, TaskLoRA, Frozen or any other,
# with its settings as model.backbone.peft.rank=32 and so on. Full needs smaller steps:
# optim_wrapper.optimizer.lr=1e-4. To train one task alone: --task depth
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/msam.py',
    '../_base_/datasets/custom_multitask.py',
    '../_base_/schedules/adam_200e.py',
]

# Your data. configs/_base_/datasets/custom_multitask.py says how the folders look
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=2),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
]
data = dict(data_root='data/custom_multitask/', depth_unit=0.001, tasks=tasks)  # depth_unit: metres
# The best checkpoint has the best TASK/METRIC; for errors, rule='less'
best = dict(save_best='seg/mIoU', rule='greater')

model = dict(tasks=tasks, backbone=dict(peft=dict(type='TALoRA')))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = test_evaluator = dict(tasks=tasks)
default_hooks = dict(checkpoint=best)
