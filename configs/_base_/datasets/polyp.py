# Polyps: Kvasir-SEG and CVC-ClinicDB, trained on jointly and tested on each (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='PolypDataset', data_root='data/polyp/', data_prefix=None, val_share=0.1)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = [dict(type='SaliencyMetric'), dict(type='BinaryMetric')]
test_evaluator = dict(type='PerSetMetric', metrics=val_evaluator)
default_hooks = dict(checkpoint=dict(save_best='S'))
