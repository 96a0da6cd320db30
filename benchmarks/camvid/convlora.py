# python tools/train.py benchmarks/camvid/convlora.py
_base_ = ['../../configs/_base_/default_runtime.py', '../../configs/_base_/models/sam_multiclass.py', 'data.py',
          '../schedule.py']
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(240, 320)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3, window_size=0, global_attn_indexes=()),
        img_size=(240, 320),
        peft=dict(type='ConvLoRA', rank=4, balance_weight=2.0), unfreeze=['neck']),
    decode_head=dict(num_classes=11, num_queries=22))
