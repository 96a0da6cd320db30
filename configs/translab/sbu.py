# python tools/train.py configs/translab/sbu.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/sbu.py']
model = dict(decode_head=dict(num_classes=2))
