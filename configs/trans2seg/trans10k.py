# python tools/train.py configs/trans2seg/trans10k.py
_base_ = ['../_base_/networks/trans2seg.py', '../_base_/datasets/trans10k.py']
model = dict(decode_head=dict(num_classes=12))
