# python tools/train.py configs/hrnet/polyp_w18.py
_base_ = ['../_base_/networks/hrnet_w18.py', '../_base_/datasets/polyp.py']
model = dict(decode_head=dict(num_classes=2))
