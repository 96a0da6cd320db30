# Trans10K-v2: transparent objects of 11 classes (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='Trans10KV2Dataset', data_root='data/trans10k/', data_prefix=None)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
