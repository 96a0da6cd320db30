# Conv-LoRA's recipe: AdamW, linear decay to zero, no warm-up, gradients clipped at norm 1
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    constructor='TrainedParamsConstructor',  # no decay on biases and norms
    clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type='PolyLR', power=1.0, eta_min=0, begin=0, end=30, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
