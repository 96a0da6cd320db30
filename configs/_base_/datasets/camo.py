# Camouflaged objects: CAMO and COD10K, trained on jointly and tested on each (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='CamouflageDataset', data_root='data/camo/', data_prefix=None, val_share=0.1)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = dict(type='SaliencyMetric')
test_evaluator = dict(type='PerSetMetric', metrics=val_evaluator)
default_hooks = dict(checkpoint=dict(save_best='S'))
