# Trans2Seg (medium): ResNet-50 with a stem of three convolutions and a transformer; the cell adds
# the data set and its number of classes. MMSegmentation has no ImageNet weights for this stem (64,
# 64, 128 channels): give a file as model.pretrained, or take its own, narrower one by
# model.backbone.stem_channels=64 model.pretrained=open-mmlab://resnet50_v1c
_base_ = ['../default_runtime.py', '../schedules/trans2seg_50e.py']
image_size = 512
find_unused_parameters = True  # some layers of the decoder are not read
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
    pretrained=None,
    backbone=dict(
        type='ResNetV1c',
        depth=50,
        stem_channels=128,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=dict(type='SyncBN')),
    decode_head=dict(
        type='Trans2SegHead',
        img_size=(512, 512),
        norm_cfg=dict(type='SyncBN'),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)),
    test_cfg=dict(mode='whole'))
tta_model = dict(type='SegTTAModel')
