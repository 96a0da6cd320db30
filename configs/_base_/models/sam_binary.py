# SAM ViT-B with its mask decoder: one foreground class
_base_ = 'sam.py'
model = dict(
    decode_head=dict(type='SAMMaskHead', num_classes=2, loss_decode=dict(type='StructureLoss')))
tta_model = dict(type='BinaryTTAModel')
