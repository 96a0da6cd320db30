# Roads seen from above, generated: 400 + 50 + 50 images of 256 x 256, drawn into data_root on first
# use (about ten seconds)
_base_ = 'segmentation.py'
train_pipeline, test_pipeline, tta_pipeline = (
    _base_.train_pipeline, _base_.test_pipeline, _base_.tta_pipeline)
train_pipeline[2].scale = test_pipeline[1].scale = (256, 256)
tta_pipeline[1].transforms[0][0].scale = (256, 256)
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
