# python tools/train.py configs/segformer/camo_b0.py
_base_ = ['../_base_/networks/segformer_b0.py', '../_base_/datasets/camo.py']
model = dict(decode_head=dict(num_classes=2))
