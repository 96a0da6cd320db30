# python tools/train.py configs/pspnet/camvid_r50.py
_base_ = ['../_base_/networks/pspnet_r50.py', '../_base_/datasets/camvid.py']
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
