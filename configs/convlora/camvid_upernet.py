# python tools/train.py configs/convlora/camvid_upernet.py
# MMSegmentation's UPerNet on four blocks of the encoder, in place of SAM's neck and mask decoder
_base_ = '../_base_/sam/camvid.py'
model = dict(
    backbone=dict(peft=dict(type='ConvLoRA', balance_weight=2.0), out_indices=(2, 5, 8, 11)),
    neck=dict(
        type='MultiLevelNeck', in_channels=[768] * 4, out_channels=256, scales=[4, 2, 1, 0.5]),
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_channels=[256] * 4,
        in_index=[0, 1, 2, 3],
        channels=256,
        num_classes=11,
        norm_cfg=dict(type='BN', requires_grad=True),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)))
