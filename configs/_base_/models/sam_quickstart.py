# The quickstart's small model with SAM's mask decoder: one foreground class
_base_ = 'small.py'
model = dict(
    decode_head=dict(type='SAMMaskHead', num_classes=2, loss_decode=dict(type='StructureLoss')))
tta_model = dict(type='BinaryTTAModel')
