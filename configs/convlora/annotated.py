# python tools/train.py configs/convlora/annotated.py
# Your own images with COCO, YOLO, LabelMe, VOC, CVAT or Label Studio annotations. As custom.py in
# all else: other methods and networks, and three classes or more
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/annotated.py',
    '../_base_/schedules/adamw_small.py',
]

# Your data. configs/_base_/datasets/annotated.py says what the settings are
data = dict(
    data_root='data/annotated/',
    metainfo=dict(classes=('background', 'object'), palette=[[0, 0, 0], [0, 255, 0]]),
    categories=dict(object=['object']),
    others='error')
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)

model = dict(backbone=dict(peft=dict(type='ConvLoRA')))

# For about 50 images; docs/small_data.md says what suits other numbers
max_epochs = 40
lr = 1e-3
augment = 'light'
val_interval = 2
patience = 8
