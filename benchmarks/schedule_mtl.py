# 600 iterations of mSAM's recipe: Adam 1e-3, 5 % of warm-up, linear decay to zero; validated once
# at the end
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-6),
    constructor='TrainedParamsConstructor',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, begin=0, end=30, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=30, end=600, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=600)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
