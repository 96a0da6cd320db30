# python tools/train.py benchmarks/nyuv2/base.py --cfg-options model.checkpoint=FILE
# ViT-Tiny with a SAM mask decoder for each task, for NYUv2 at 192 x 144
_base_ = [
    '../../configs/_base_/default_runtime.py',
    '../_base_/vit_tiny.py',
    'data.py',
    '../schedule_mtl.py',
]
model = dict(
    type='MultiTaskSegmentor',
    tasks=_base_.tasks,
    decode_head=dict(type='MSAMHead'),
)
