# python tools/train.py configs/pspnet/polyp_r50.py
_base_ = ['../_base_/networks/pspnet_r50.py', '../_base_/datasets/polyp.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
