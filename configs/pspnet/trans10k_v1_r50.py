# python tools/train.py configs/pspnet/trans10k_v1_r50.py
_base_ = ['../_base_/networks/pspnet_r50.py', '../_base_/datasets/trans10k_v1.py']
model = dict(decode_head=dict(num_classes=3), auxiliary_head=dict(num_classes=3))
