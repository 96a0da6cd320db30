# The small model that comes with the package, for trying things out: not SAM, and much weaker
_base_ = [
    '../default_runtime.py',
    '../models/small.py',
    '../datasets/custom_multiclass.py',
    '../schedules/adamw_small.py',
]
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),  # the data's
    backbone=dict(img_size=1024),
    decode_head=dict(type='SAMMaskHead', loss_decode=dict(type='SetPredictionLoss')))
tta_model = dict(type='SegTTAModel')
