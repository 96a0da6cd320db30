# Trans2Seg's recipe: Adam, ten times the learning rate in the head, polynomial decay of power 0.9,
# no warm-up. The rate is for 8 processes of 4 images
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=10.0)}))
param_scheduler = dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=50, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
batch_size = 4
