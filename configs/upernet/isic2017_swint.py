# python tools/train.py configs/upernet/isic2017_swint.py
_base_ = ['../_base_/networks/upernet_swint.py', '../_base_/datasets/isic2017.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
