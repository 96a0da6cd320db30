# python tools/train.py configs/pretrain/objects.py
# Trains the quickstart's base model; then
#     python tools/model_converters/export_base.py configs/pretrain/objects.py \
#         work_dirs/pretrain/objects/adapter_last.safetensors \
#         mmsam_peft/assets/quickstart.safetensors
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_quickstart.py',
    '../_base_/datasets/quickstart.py',
]
model = dict(checkpoint=None)
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(type='ObjectsDataset', data_root='data/objects/', num_images=2000))
val_dataloader = test_dataloader = dict(
    dataset=dict(type='ObjectsDataset', data_root='data/objects/'))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    constructor='TrainedParamsConstructor', clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=200, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=200, end=2000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
