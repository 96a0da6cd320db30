# Your own images and masks of several classes; custom.py says how the folders look. A config sets
# metainfo, and the model's decode_head.num_classes and num_queries
_base_ = 'segmentation.py'
train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(type='FolderDataset', data_root='data/custom/', mask_values='index'))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
default_hooks = dict(baselines=dict(type='BaselinesHook'), visualization=dict(interval=5))
