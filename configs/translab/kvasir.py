# python tools/train.py configs/translab/kvasir.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/kvasir.py']
model = dict(decode_head=dict(num_classes=2))
