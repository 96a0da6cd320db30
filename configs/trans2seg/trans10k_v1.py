# python tools/train.py configs/trans2seg/trans10k_v1.py
_base_ = ['../_base_/networks/trans2seg.py', '../_base_/datasets/trans10k_v1.py']
model = dict(decode_head=dict(num_classes=3))
