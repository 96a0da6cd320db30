# Your own images with annotations, read where they lie: COCO JSON, YOLO polygons, LabelMe JSON,
# Pascal VOC's masks, CVAT's and Label Studio's exports, or masks of any kind (docs/own_data.md)
#     annotations   the file or folder of a split, below data_root
#     data_prefix   img_path, the folder of the images
#     ann_file      instead of a file of annotations for each split: a list of its images, a name a
#                   line
#     classes       the first is where no object is; the others are categories of the annotations
#     categories    of a class, the categories it consists of: dict(vehicle=['car', 'bus'])
#     others        what objects of other categories are: 'error', 'background' or 'ignore'
_base_ = 'segmentation.py'
data = dict(
    type='AnnotatedDataset',
    data_root='data/annotated/',
    data_prefix=dict(_delete_=True, img_path='images'),
    metainfo=dict(classes=('background', 'object'), palette=[[0, 0, 0], [0, 255, 0]]))
train_dataloader = dict(dataset=dict(data, annotations='annotations/train.json'))
val_dataloader = dict(dataset=dict(data, annotations='annotations/val.json'))
test_dataloader = dict(dataset=dict(data, annotations='annotations/test.json'))

# For more than two classes: dict(type='IoUMetric', iou_metrics=['mIoU']), and save_best='mIoU'
val_evaluator = test_evaluator = dict(type='BinaryMetric')
default_hooks = dict(
    baselines=dict(type='BaselinesHook'),  # scores what costs no training
    checkpoint=dict(save_best='Dice'),
    visualization=dict(interval=5))
