# python tools/train.py configs/hf_peft/custom.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/adamw_30e.py',
]

# Your data. configs/_base_/datasets/custom.py says how the folders look and what mask_values may be.
classes = ('background', 'object')
data = dict(
    data_root='data/custom/',
    metainfo=dict(classes=classes, palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='binary255')
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)

model = dict(backbone=dict(peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))))

# Three classes or more: name them above, set mask_values to 'index' or to their colours, take sam_multiclass.py in
# _base_, and uncomment these lines:
# model['decode_head'] = dict(num_classes=len(classes), num_queries=2 * len(classes))
# val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# default_hooks = dict(checkpoint=dict(save_best='mIoU'))
