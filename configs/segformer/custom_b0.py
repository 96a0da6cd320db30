# python tools/train.py configs/segformer/custom_b0.py
_base_ = [
    '../_base_/default_runtime.py',
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/segformer_30e.py',
]

# Your data. configs/_base_/datasets/custom.py says how the folders look and what mask_values may be.
classes = ('background', 'object')
data = dict(
    data_root='data/custom/',
    metainfo=dict(classes=classes, palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='binary255')
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)

checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=len(classes)))
tta_model = dict(type='SegTTAModel')

# Three classes or more: name them above, set mask_values to 'index' or to their colours, and uncomment these lines:
# val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# default_hooks = dict(checkpoint=dict(save_best='mIoU'))
