# For own data and few images, see docs/small_data.md: AdamW, 20 iterations of warm-up, linear decay
# to zero, gradients clipped at norm 1. lr, max_epochs and val_interval are settings: each reaches
# all places
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    constructor='TrainedParamsConstructor',  # no decay on biases and norms
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=0, end=40, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=40, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
