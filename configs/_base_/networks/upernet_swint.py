# UPerNet on Swin-T; the cell adds the data set and its number of classes
_base_ = [
    '../default_runtime.py',
    'mmseg::_base_/models/upernet_swin.py',
    '../schedules/swin_30e.py',
]
address = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/swin/'
weights = address + 'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights)))
tta_model = dict(type='SegTTAModel')
