# Shared by all models on SAM ViT-B: weights, image sizes, encoder
model = dict(
    type='PEFTSegmentor',
    checkpoint='published',  # the weights that SAM's authors publish for the arch
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(1024, 1024),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(type='SAMViT', arch='base', img_size=1024),
    test_cfg=dict(mode='whole'))
