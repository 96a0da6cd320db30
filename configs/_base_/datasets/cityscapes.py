# CityScapes as published with MTAN: {train,val}/{image,label_7,depth}/*.npy, 2975 + 500 images of
# 128 x 256; inverse depth
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=7),
    dict(type='InverseDepth', name='depth'),
]
data = dict(type='CityScapesMTANDataset', data_root='data/cityscapes_mtan/', tasks=tasks, val_share=0.1)
train_dataloader = val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(tasks=tasks)
