# python tools/train.py benchmarks/study/leaf.py --cfg-options model.checkpoint=FILE
# ViT-Tiny with SAM's mask decoder, for leaf disease at 128 x 128
_base_ = [
    '../../configs/_base_/default_runtime.py',
    '../_base_/vit_tiny.py',
    'leaf_data.py',
    'schedule.py',
]
model = dict(
    decode_head=dict(type='SAMMaskHead', num_classes=2, loss_decode=dict(type='StructureLoss')),
)
tta_model = dict(type='BinaryTTAModel')
