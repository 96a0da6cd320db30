# SAM ViT-B with its mask decoder as a set of queries; num_classes comes from the method's config
model = dict(
    type='PEFTSegmentor',
    checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(1024, 1024),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(type='SAMViT', arch='base', img_size=1024),
    decode_head=dict(type='SAMMaskHead', loss_decode=dict(type='SetPredictionLoss')),
    test_cfg=dict(mode='whole'))
tta_model = dict(type='SegTTAModel')
