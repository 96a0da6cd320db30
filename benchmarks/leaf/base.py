# An ImageNet ViT-Tiny in SAM's shape with SAM's mask decoder, for leaf disease at 192 x 192
_base_ = ['../../configs/_base_/default_runtime.py', '../../configs/_base_/models/sam_binary.py', 'data.py',
          '../schedule_250.py']
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(192, 192)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3, window_size=0, global_attn_indexes=()),
        img_size=192,
        peft=dict(type='Frozen'), unfreeze=['neck']))
