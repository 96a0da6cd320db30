# python tools/train.py configs/segformer/custom_b0.py
# For another network, put its file from configs/_base_/networks/ into _base_. Those with an
# auxiliary head (PSPNet, DeepLabV3+) also need, in model,
# auxiliary_head=dict(num_classes=len(classes))
_base_ = ['../_base_/networks/segformer_b0.py', '../_base_/datasets/custom.py']

# Your data. configs/_base_/datasets/custom.py says how the folders look and what mask_values may be
classes = ('background', 'object')
data = dict(
    data_root='data/custom/',
    metainfo=dict(classes=classes, palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='binary255')
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)

model = dict(decode_head=dict(num_classes=len(classes)))

# For three classes or more: name them above, set mask_values to 'index' or to their colours, and
# uncomment these lines:
# val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# default_hooks = dict(checkpoint=dict(save_best='mIoU'))
