# python tools/train.py configs/translab/leaf.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/leaf.py']
model = dict(decode_head=dict(num_classes=2))
