# SegFormer-B0; the cell adds the data set and its number of classes
_base_ = [
    '../default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../schedules/segformer_30e.py',
]
address = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/'
weights = address + 'mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights)))
tta_model = dict(type='SegTTAModel')
