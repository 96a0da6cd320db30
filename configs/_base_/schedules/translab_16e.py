# TransLab's recipe: SGD, polynomial decay of power 0.9, no warm-up. The rate is for 8 processes of 8
# images
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=16, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
batch_size = 8
