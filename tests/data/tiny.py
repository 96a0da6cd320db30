# SAM's shape in miniature on a folder of pictures, for tests. TINY_ROOT holds img_dir/, ann_dir/
# and the encoder's base.pth
_base_ = '../../configs/_base_/default_runtime.py'
data_root = '{{$TINY_ROOT:data/tiny}}/'
work_dir = data_root + 'work'

model = dict(
    type='PEFTSegmentor',
    checkpoint=data_root + 'base.pth',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, bgr_to_rgb=True, size=(64, 64)
    ),
    backbone=dict(
        type='SAMViT',
        arch=dict(
            embed_dim=32,
            depth=2,
            num_heads=2,
            global_attn_indexes=(1,),
            window_size=3,
            out_channels=32,
        ),
        img_size=64,
        peft=dict(type='LoRA'),
    ),
    decode_head=dict(type='SAMMaskHead', in_channels=32, num_heads=2, mlp_dim=32),
    test_cfg=dict(mode='whole'),
)
tta_model = dict(type='BinaryTTAModel')

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='LoadMask'),
    dict(type='PackSegInputs'),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FolderDataset',
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        metainfo=dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]]),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FolderDataset',
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        metainfo=dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]]),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='BinaryMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    constructor='TrainedParamsConstructor',
)
param_scheduler = dict(
    type='PolyLR', power=1.0, eta_min=0, begin=0, end=4, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='Dice', rule='greater'),
)
randomness = dict(seed=0)
