# python tools/train.py configs/pspnet/kvasir_r50.py
_base_ = [
    '../_base_/default_runtime.py',
    'mmseg::_base_/models/pspnet_r50-d8.py',
    '../_base_/datasets/kvasir.py',
    '../_base_/schedules/sgd_30e.py',
]
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2))
tta_model = dict(type='SegTTAModel')
