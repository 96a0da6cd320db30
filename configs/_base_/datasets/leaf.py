# Leaf disease segmentation. The mean of the images' IoU and Dice (docs/prepare_datasets.md)
_base_ = 'segmentation.py'
data = dict(type='LeafDataset', data_root='data/leaf/', data_prefix=None, val_share=0.1)
train_dataloader = dict(dataset=dict(data, split='train'))
val_dataloader = dict(dataset=dict(data, split='val'))
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(type='BinaryMetric')
default_hooks = dict(checkpoint=dict(save_best='IoU'))
