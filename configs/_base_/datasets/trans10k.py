# Trans10K-v2 as published: {train,validation,test}/{images,masks_12}
_base_ = 'segmentation.py'
data = dict(type='Trans10KV2Dataset', data_root='data/trans10k/')
train_dataloader = dict(dataset=dict(
    data, data_prefix=dict(img_path='train/images', seg_map_path='train/masks_12')))
val_dataloader = dict(dataset=dict(
    data, data_prefix=dict(img_path='validation/images', seg_map_path='validation/masks_12')))
test_dataloader = dict(dataset=dict(
    data, data_prefix=dict(img_path='test/images', seg_map_path='test/masks_12')))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
