# python tools/train.py configs/segformer/kvasir_b0.py
_base_ = [
    '../_base_/default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/kvasir.py',
    '../_base_/schedules/segformer_30e.py',
]
checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=2))
tta_model = dict(type='SegTTAModel')
