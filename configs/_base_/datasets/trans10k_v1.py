# Trans10K, the first version: transparent things and stuff, tested on easy and hard images (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='Trans10KV1Dataset', data_root='data/trans10k_v1/', data_prefix=None)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = dict(type='PerSetMetric', metrics=val_evaluator)
