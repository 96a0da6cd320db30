# HRNet-W18 with an FCN head; the cell adds the data set and its number of classes
_base_ = [
    '../default_runtime.py',
    'mmseg::_base_/models/fcn_hr18.py',
    '../schedules/sgd_30e.py',
]
model = dict(data_preprocessor=dict(size=(1024, 1024)))
tta_model = dict(type='SegTTAModel')
