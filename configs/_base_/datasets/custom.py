# Your own images and masks. Put them under data_root as
#     img_dir/{train,val,test}/NAME.jpg   (also .jpeg .png .bmp .tif .tiff .webp .npy)
#     ann_dir/{train,val,test}/NAME.png   (also .bmp .tif .tiff .gif .jpg .jpeg), of the same size
# Images of other than 8 bits, or of other bands than grey and RGB, need pixels = dict(...) in your
# config: see docs/own_data.md. Transparency is refused. Images are turned by their EXIF
# orientation; hidden files are ignored.
# Say what the stored mask values mean:
#     'index'       the class number: 0, 1, 2, ... in the order of classes; 255 = ignored
#     'binary01'    two classes: 0 is background, anything else the object
#     'binary255'   two classes: grey values from 128 are the object (masks of 0/255, or JPEG)
#     [[0, 0, 0], [255, 0, 0], ...]   colour masks: the RGB colour of each class
_base_ = 'segmentation.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(
    type='FolderDataset',
    data_root='data/custom/',
    metainfo=dict(classes=('background', 'object'), palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='binary255'))

# For more than two classes: dict(type='IoUMetric', iou_metrics=['mIoU']), and save_best='mIoU'
val_evaluator = test_evaluator = dict(type='BinaryMetric')
default_hooks = dict(
    baselines=dict(type='BaselinesHook'),  # scores what costs no training
    checkpoint=dict(save_best='Dice'),
    visualization=dict(interval=5))
