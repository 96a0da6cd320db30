# DeepLabV3+ with ResNet-50; the cell adds the data set and its number of classes
_base_ = [
    '../default_runtime.py',
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    '../schedules/sgd_30e.py',
]
model = dict(data_preprocessor=dict(size=(1024, 1024)))
tta_model = dict(type='SegTTAModel')
