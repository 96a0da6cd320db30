# python tools/train.py benchmarks/camvid/base.py --cfg-options model.checkpoint=FILE
# ViT-Tiny with SAM's mask decoder as a set of queries, for CamVid at 320 x 240
_base_ = [
    '../../configs/_base_/default_runtime.py',
    '../_base_/vit_tiny.py',
    'data.py',
    '../schedule.py',
]
model = dict(
    decode_head=dict(
        type='SAMMaskHead',
        num_classes=11,
        num_queries=22,
        loss_decode=dict(type='SetPredictionLoss'),
    ),
)
tta_model = dict(type='SegTTAModel')
