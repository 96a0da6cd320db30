# Kvasir-SEG at 128 x 128, batch 4
_base_ = '../kvasir/data.py'
image_size = 128
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(loading, batch_size=4)
val_dataloader = test_dataloader = loading
default_hooks = dict(checkpoint=dict(interval=150), visualization=dict(draw=False))
