# 150 iterations of batch 4, validated once at the end, so that no checkpoint is chosen by its score
_base_ = '../schedule.py'
optim_wrapper = dict(optimizer=dict(fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=15, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=15, end=150, by_epoch=False),
]
train_cfg = dict(max_iters=150, val_interval=150)
