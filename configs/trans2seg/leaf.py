# python tools/train.py configs/trans2seg/leaf.py
_base_ = ['../_base_/networks/trans2seg.py', '../_base_/datasets/leaf.py']
model = dict(decode_head=dict(num_classes=2))
