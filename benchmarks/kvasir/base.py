# python tools/train.py benchmarks/kvasir/base.py --cfg-options model.checkpoint=FILE
# ViT-Tiny with SAM's mask decoder, for Kvasir-SEG at 192 x 192
_base_ = [
    '../../configs/_base_/default_runtime.py',
    '../_base_/vit_tiny.py',
    'data.py',
    '../schedule_250.py',
]
model = dict(
    decode_head=dict(type='SAMMaskHead', num_classes=2, loss_decode=dict(type='StructureLoss')),
)
tta_model = dict(type='BinaryTTAModel')
