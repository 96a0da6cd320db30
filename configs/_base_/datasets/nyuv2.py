# NYUv2 as published with MTAN: {train,val}/{image,label,depth,normal}/*.npy, 795 + 654 images of
# 288 x 384. NYUv2Dataset also reads layout='nyud_mt' (40 classes) and layout='folder', which
# tools/dataset_converters/nyuv2_mat.py writes; its second split is 'test', and pseudo_normals.py
# beside that tool derives the normals it lacks
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=13),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
data = dict(type='NYUv2Dataset', data_root='data/nyuv2/', layout='mtan', tasks=tasks, val_share=0.1)
train_dataloader = val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(tasks=tasks)
