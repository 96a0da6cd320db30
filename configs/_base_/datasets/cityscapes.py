# CityScapes as published with MTAN: {train,val}/{image,label_7,depth}/*.npy, 2975 + 500 images of
# 128 x 256; inverse depth
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=7),
    dict(type='InverseDepth', name='depth'),
]
train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(type='CityScapesMTANDataset', data_root='data/cityscapes_mtan/', tasks=tasks))
val_evaluator = test_evaluator = dict(tasks=tasks)
