# python tools/train.py configs/translab/custom.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/custom.py']
model = dict(decode_head=dict(num_classes=2))
