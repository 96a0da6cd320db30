# SegFormer-B2; the cell adds the data set and its number of classes
_base_ = [
    '../default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../schedules/segformer_30e.py',
]
address = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/'
weights = address + 'mit_b2_20220624-66e8bf70.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        init_cfg=dict(type='Pretrained', checkpoint=weights)),
    decode_head=dict(in_channels=[64, 128, 320, 512]))
tta_model = dict(type='SegTTAModel')
