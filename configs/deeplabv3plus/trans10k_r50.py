# python tools/train.py configs/deeplabv3plus/trans10k_r50.py
_base_ = ['../_base_/networks/deeplabv3plus_r50.py', '../_base_/datasets/trans10k.py']
model = dict(decode_head=dict(num_classes=12), auxiliary_head=dict(num_classes=12))
