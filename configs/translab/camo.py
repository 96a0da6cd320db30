# python tools/train.py configs/translab/camo.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/camo.py']
model = dict(decode_head=dict(num_classes=2))
