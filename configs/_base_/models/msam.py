# SAM ViT-B with a mask decoder for each dense task; the recipe sets the tasks
_base_ = 'sam.py'
model = dict(
    type='MultiTaskSegmentor',
    data_preprocessor=dict(test_cfg=dict(size=(1024, 1024))),
    decode_head=dict(type='MSAMHead'))
