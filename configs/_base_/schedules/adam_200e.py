# mSAM's recipe on NYUv2: Adam, 5 % warm-up, linear decay to zero
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-6), constructor='TrainedParamsConstructor')
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=10, end=200, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
