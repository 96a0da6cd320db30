# python tools/train.py configs/hrnet/camo_w18.py
_base_ = ['../_base_/networks/hrnet_w18.py', '../_base_/datasets/camo.py']
model = dict(decode_head=dict(num_classes=2))
