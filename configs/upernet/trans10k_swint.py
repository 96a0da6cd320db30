# python tools/train.py configs/upernet/trans10k_swint.py
_base_ = ['../_base_/networks/upernet_swint.py', '../_base_/datasets/trans10k.py']
model = dict(decode_head=dict(num_classes=12), auxiliary_head=dict(num_classes=12))
