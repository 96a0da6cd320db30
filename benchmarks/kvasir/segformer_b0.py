# python tools/train.py benchmarks/kvasir/segformer_b0.py
_base_ = [
    '../../configs/_base_/default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py',
    'data.py',
    '../schedule_250.py',
]
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),  # image_size reaches what is there
    decode_head=dict(num_classes=2, norm_cfg=dict(type='BN', requires_grad=True)),
)
