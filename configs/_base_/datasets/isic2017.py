# ISIC 2017: skin lesions. The mean of the images' IoU and Dice (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='ISIC2017Dataset', data_root='data/isic2017/', data_prefix=None)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(type='BinaryMetric')
default_hooks = dict(checkpoint=dict(save_best='IoU'))
