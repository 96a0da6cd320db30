# Your own images with annotations of several classes; annotated.py says what the settings are. A
# config sets metainfo, and the model's decode_head.num_classes and num_queries
_base_ = 'segmentation.py'
data = dict(
    type='AnnotatedDataset',
    data_root='data/annotated/',
    data_prefix=dict(_delete_=True, img_path='images'))
train_dataloader = dict(dataset=dict(data, annotations='annotations/train.json'))
val_dataloader = dict(dataset=dict(data, annotations='annotations/val.json'))
test_dataloader = dict(dataset=dict(data, annotations='annotations/test.json'))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
default_hooks = dict(baselines=dict(type='BaselinesHook'), visualization=dict(interval=5))
