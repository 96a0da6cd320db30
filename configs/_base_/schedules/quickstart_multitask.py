# Four times through 200 images: AdamW 3e-3, ten iterations of warm-up, linear decay to zero
_base_ = ['quickstart.py']
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=10, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=0, end=4, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=4)
