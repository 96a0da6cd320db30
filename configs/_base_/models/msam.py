# SAM ViT-B with a mask decoder for each dense task; tasks come from the data set's base config
model = dict(
    type='MultiTaskSegmentor',
    checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(1024, 1024),
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size=(1024, 1024))),
    backbone=dict(type='SAMViT', arch='base', img_size=1024),
    decode_head=dict(type='MSAMHead'),
    test_cfg=dict(mode='whole'))
