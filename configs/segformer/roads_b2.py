# python tools/train.py configs/segformer/roads_b2.py
_base_ = ['../_base_/networks/segformer_b2.py', '../_base_/datasets/roads.py']
model = dict(decode_head=dict(num_classes=2))
