# python tools/train.py configs/pspnet/isic2017_r50.py
_base_ = ['../_base_/networks/pspnet_r50.py', '../_base_/datasets/isic2017.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
