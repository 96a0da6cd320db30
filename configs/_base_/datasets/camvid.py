# CamVid, 11 classes, in img_dir/{train,val,test}, ann_dir/{train,val,test}
_base_ = 'segmentation.py'
train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(type='CamVidDataset', data_root='data/camvid/'))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
