# 250 iterations of batch 8, validated once at the end, so that no checkpoint is chosen by its score
_base_ = 'schedule.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=20, end=250, by_epoch=False),
]
train_cfg = dict(max_iters=250, val_interval=250)
