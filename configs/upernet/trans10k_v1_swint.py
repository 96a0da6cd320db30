# python tools/train.py configs/upernet/trans10k_v1_swint.py
_base_ = ['../_base_/networks/upernet_swint.py', '../_base_/datasets/trans10k_v1.py']
model = dict(decode_head=dict(num_classes=3), auxiliary_head=dict(num_classes=3))
