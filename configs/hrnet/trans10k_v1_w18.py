# python tools/train.py configs/hrnet/trans10k_v1_w18.py
_base_ = ['../_base_/networks/hrnet_w18.py', '../_base_/datasets/trans10k_v1.py']
model = dict(decode_head=dict(num_classes=3))
