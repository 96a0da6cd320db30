# Diseased leaf area in {img_dir,ann_dir}/{train,val}, masks of class numbers, at 192 x 192, batch
# 8; val serves as test
_base_ = '../../configs/_base_/datasets/custom.py'
image_size = 192
data = dict(
    data_root='data/leaf/',
    metainfo=dict(classes=('background', 'disease'), palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='index',
)
held_out = dict(
    data,
    data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
)
train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=data,
)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=held_out)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=125))
