# python tools/train.py configs/pspnet/camo_r50.py
_base_ = ['../_base_/networks/pspnet_r50.py', '../_base_/datasets/camo.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
