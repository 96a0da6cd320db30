# python tools/train.py configs/trans2seg/isic2017.py
_base_ = ['../_base_/networks/trans2seg.py', '../_base_/datasets/isic2017.py']
model = dict(decode_head=dict(num_classes=2))
