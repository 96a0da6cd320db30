# An ImageNet ViT-Tiny in SAM's shape with SAM's mask decoder as a set of queries, for CamVid at 320 x 240
_base_ = ['../../configs/_base_/default_runtime.py', '../../configs/_base_/models/sam_multiclass.py', 'data.py',
          '../schedule.py']
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(240, 320)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3, window_size=0, global_attn_indexes=()),
        img_size=(240, 320),
        peft=dict(type='Frozen'), unfreeze=['neck']),
    decode_head=dict(num_classes=11, num_queries=22))
