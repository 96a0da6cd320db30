# python tools/train.py configs/translab/roads.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/roads.py']
model = dict(decode_head=dict(num_classes=2))
