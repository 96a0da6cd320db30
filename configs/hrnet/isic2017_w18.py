# python tools/train.py configs/hrnet/isic2017_w18.py
_base_ = ['../_base_/networks/hrnet_w18.py', '../_base_/datasets/isic2017.py']
model = dict(decode_head=dict(num_classes=2))
