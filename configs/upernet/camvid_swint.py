# python tools/train.py configs/upernet/camvid_swint.py
_base_ = ['../_base_/networks/upernet_swint.py', '../_base_/datasets/camvid.py']
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
