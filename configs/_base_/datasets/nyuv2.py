# NYUv2 as published with MTAN: {train,val}/{image,label,depth,normal}/*.npy, 795 + 654 images of
# 288 x 384. Other forms of it, see NYUv2Dataset: layout='nyud_mt' (40 classes), or 'folder' (its
# second split is 'test'; what tools/dataset_converters/nyuv2_mat.py writes; pseudo_normals.py there
# derives the normals it lacks)
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=13),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(type='NYUv2Dataset', data_root='data/nyuv2/', layout='mtan', tasks=tasks))
val_evaluator = test_evaluator = dict(tasks=tasks)
