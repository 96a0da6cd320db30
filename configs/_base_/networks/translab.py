# TransLab: ResNet-50 at stride 16 with a boundary stream; the cell adds the data set and its number
# of classes. The published program never trains the boundary stream:
# model.decode_head.train_boundary=False
_base_ = ['../default_runtime.py', '../schedules/translab_16e.py']
image_size = 512
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255),
    pretrained='https://download.pytorch.org/models/resnet50-0676ba61.pth',
    backbone=dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=dict(type='SyncBN')),
    decode_head=dict(
        type='TransLabHead',
        norm_cfg=dict(type='SyncBN'),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        loss_boundary=dict(type='SquaredDiceLoss', loss_weight=5.0)),
    test_cfg=dict(mode='whole'))
tta_model = dict(type='SegTTAModel')
