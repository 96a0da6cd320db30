# An ImageNet ViT-Tiny in SAM's shape with a SAM mask decoder for each task, for NYUv2 at 192 x 144
_base_ = ['../../configs/_base_/default_runtime.py', '../../configs/_base_/models/msam.py', 'data.py', '../schedule_mtl.py']
model = dict(
    tasks=_base_.tasks,
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(144, 192), test_cfg=dict(size=(144, 192))),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3, window_size=0, global_attn_indexes=()),
        img_size=(144, 192),
        peft=dict(type='Frozen'), unfreeze=['neck']))
