# python tools/train.py configs/translab/polyp.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/polyp.py']
model = dict(decode_head=dict(num_classes=2))
