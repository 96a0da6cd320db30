# python tools/train.py configs/upernet/kvasir_swint.py
_base_ = ['../_base_/networks/upernet_swint.py', '../_base_/datasets/kvasir.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
