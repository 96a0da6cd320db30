# The quickstart's small model with a mask decoder for each dense task
_base_ = 'small.py'
model = dict(
    type='MultiTaskSegmentor',
    data_preprocessor=dict(test_cfg=dict(size=(256, 256))),
    decode_head=dict(type='MSAMHead', num_tokens=1))
