# An ImageNet ViT-Tiny in SAM's shape in place of SAM; its weights, without neck and mask decoder,
# are
# named by --cfg-options model.checkpoint=FILE
_base_ = '../../configs/_base_/models/sam.py'
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dim=192,
            depth=12,
            num_heads=3,
            window_size=0,
            global_attn_indexes=(),
        ),
        peft=dict(type='Frozen'),
        unfreeze=['neck'],
    ),
)
