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
    decode_head=dict(prompts=dict(train_encoder=True)))
prompts = dict(box=0.3, point=0.3, none=0.4, rounds=3, objects=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=50, end=600, by_epoch=False)]
train_cfg = dict(max_iters=600, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300))
