# python tools/train.py configs/translab/camvid.py
_base_ = ['../_base_/networks/translab.py', '../_base_/datasets/camvid.py']
model = dict(decode_head=dict(num_classes=11))
