# python tools/train.py configs/deeplabv3plus/sbu_r50.py
_base_ = ['../_base_/networks/deeplabv3plus_r50.py', '../_base_/datasets/sbu.py']
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
