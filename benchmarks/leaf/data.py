# Diseased leaf area in {img_dir,ann_dir}/{train,val}, masks of class numbers, at 192 x 192, batch
# 8; val serves as test
_base_ = '../../configs/_base_/datasets/custom.py'
size = (192, 192)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
data = dict(
    data_root='data/leaf/',
    metainfo=dict(classes=('background', 'disease'), palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='index',
)
held_out = dict(
    data,
    data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(data, pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=held_out)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=125))
