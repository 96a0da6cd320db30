# Kvasir-SEG at 128 x 128, batch 4
_base_ = '../kvasir/data.py'
size = (128, 128)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(loading, batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(loading, dataset=dict(pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(interval=150), visualization=dict(draw=False))
