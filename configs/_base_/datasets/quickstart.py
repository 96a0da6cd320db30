# Roads seen from above, generated: 400 + 50 + 50 images of 256 x 256, drawn into data_root on first
# use (about ten seconds)
_base_ = 'segmentation.py'
image_size = (256, 256)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0., direction='horizontal'),
         dict(type='RandomFlip', prob=1., direction='horizontal')],
        [dict(type='LoadMask')],
        [dict(type='PackSegInputs')],
    ]),
]
# _delete_: the data set knows its folders
data = dict(type='QuickstartDataset', data_root='data/quickstart/')
train_dataloader = dict(
    batch_size=8, dataset=dict(data, _delete_=True, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, dataset=dict(data, _delete_=True, split='val', pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=8, dataset=dict(data, _delete_=True, split='test', pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(type='BinaryMetric')
default_hooks = dict(checkpoint=dict(save_best='Dice'), visualization=dict(interval=1))
