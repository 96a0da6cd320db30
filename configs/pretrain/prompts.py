# python tools/train.py configs/pretrain/prompts.py
# The second half of the quickstart's base model: its decoder learns prompts. The encoder is that of
# the first half, which these commands leave in work_dirs:
#     python tools/train.py configs/pretrain/objects.py
#     python tools/model_converters/export_base.py configs/pretrain/objects.py \
#         work_dirs/pretrain/objects/adapter_last.safetensors work_dirs/pretrain/base.safetensors
# Then
#     python tools/model_converters/export_base.py configs/pretrain/prompts.py \
#         work_dirs/pretrain/prompts/adapter_last.safetensors \
#         mmsam_peft/assets/quickstart.safetensors
_base_ = 'objects.py'
model = dict(
    checkpoint='work_dirs/pretrain/base.safetensors',
    backbone=dict(peft=dict(type='Frozen')),
    decode_head=dict(prompts=dict(train_encoder=True), loss_decode=dict(_delete_=True, type='DiceBCELoss')))
prompts = dict(box=0.4, point=0.3, none=0.3, rounds=3, objects=3)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=50, end=1000, by_epoch=False)]
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(
    checkpoint=dict(interval=250), feature_cache=dict(type='FeatureCacheHook', views=1))
