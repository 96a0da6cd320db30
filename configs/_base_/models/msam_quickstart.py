# The quickstart's small model in SAM's shape with a mask decoder for each dense task; it comes with us
model = dict(
    type='MultiTaskSegmentor',
    checkpoint='mmsam_peft://quickstart',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(256, 256),
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size=(256, 256))),
    backbone=dict(
        type='SAMViT',
        arch=dict(embed_dim=128, depth=6, num_heads=4, window_size=8, global_attn_indexes=(2, 5), out_channels=128),
        img_size=256),
    decode_head=dict(type='MSAMHead', in_channels=128, num_heads=4, mlp_dim=256, num_tokens=1),
    test_cfg=dict(mode='whole'))
