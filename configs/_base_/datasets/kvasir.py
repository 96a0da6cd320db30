# Kvasir-SEG in img_dir/{train,val,test}, ann_dir/{train,val,test}
_base_ = 'segmentation.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(
    type='KvasirDataset',
    data_root='data/kvasir/',
    mask_values='index'))  # masks stored as 0/1; 'binary255' for 0/255, PNG or JPEG
val_evaluator = test_evaluator = [dict(type='SaliencyMetric'), dict(type='BinaryMetric')]
default_hooks = dict(checkpoint=dict(save_best='S'))
