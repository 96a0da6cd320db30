# PASCAL-Context as in PASCAL_MT, 4998 + 5105 images: JPEGImages, ImageSets/Context, semseg,
# human_parts, normals_distill, sal_distill, pascal-context/trainval. For edges add
# dict(type='Edges', name='edges', weight=50.0)
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=21),
    dict(type='HumanParts', name='parts', weight=2.0),
    dict(type='SurfaceNormals', name='normals', weight=10.0),
    dict(type='Saliency', name='saliency', weight=5.0),
]
data = dict(type='PASCALMTDataset', data_root='data/pascal_mt/', tasks=tasks, val_share=0.1)
train_dataloader = val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=dict(data, split='test'))
val_evaluator = test_evaluator = dict(tasks=tasks)
