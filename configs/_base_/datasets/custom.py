# Your own images and masks. Put them under data_root as
#     img_dir/{train,val,test}/NAME.jpg   (also .jpeg .png .bmp .tif .tiff)
#     ann_dir/{train,val,test}/NAME.png   (also .bmp .tif .tiff .gif .jpg .jpeg), of the image's width and height
dataset_type = 'FolderDataset'
data_root = 'data/custom/'
metainfo = dict(classes=('background', 'object'), palette=[[0, 0, 0], [0, 255, 0]])

# What the stored mask values mean:
#     'index'       the class number: 0, 1, 2, ... in the order of classes; 255 = ignored
#     'binary01'    two classes: 0 is background, anything else the object
#     'binary255'   two classes: grey values from 128 are the object (masks stored as 0/255, or as JPEG)
#     [[0, 0, 0], [255, 0, 0], ...]   colour masks: the RGB colour of each class
mask_values = 'binary255'

image_size = (1024, 1024)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='Resize', scale=image_size, keep_ratio=False, interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=False, interpolation='bicubic'),
    dict(type='LoadMask'),  # after Resize: metrics are computed at the mask's own size
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='Resize', scale=image_size, keep_ratio=False, interpolation='bicubic')],
        [dict(type='RandomFlip', prob=0., direction='horizontal'), dict(type='RandomFlip', prob=1., direction='horizontal')],
        [dict(type='LoadMask')],
        [dict(type='PackSegInputs')],
    ]),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        metainfo=metainfo,
        mask_values=mask_values,
        pipeline=train_pipeline))

val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        metainfo=metainfo,
        mask_values=mask_values,
        pipeline=test_pipeline))

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/test', seg_map_path='ann_dir/test'),
        metainfo=metainfo,
        mask_values=mask_values,
        pipeline=test_pipeline))

# For more than two classes: val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
val_evaluator = dict(type='BinaryMetric')
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='Dice', rule='greater'),
    visualization=dict(type='SegVisualizationHook', draw=True, interval=5))
