# A small encoder in SAM's shape, trained class-agnostically on generated objects
# (configs/pretrain/objects.py); its weights come with the package
model = dict(
    type='PEFTSegmentor',
    checkpoint='mmsam_peft://quickstart',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(256, 256),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='SAMViT',
        arch=dict(
            embed_dim=128, depth=6, num_heads=4, window_size=8, global_attn_indexes=(2, 5),
            out_channels=128),
        img_size=256),
    decode_head=dict(in_channels=128, num_heads=4, mlp_dim=256),
    test_cfg=dict(mode='whole'))
