# python tools/train.py configs/trans2seg/camo.py
_base_ = ['../_base_/networks/trans2seg.py', '../_base_/datasets/camo.py']
model = dict(decode_head=dict(num_classes=2))
