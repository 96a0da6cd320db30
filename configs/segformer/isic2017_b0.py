# python tools/train.py configs/segformer/isic2017_b0.py
_base_ = ['../_base_/networks/segformer_b0.py', '../_base_/datasets/isic2017.py']
model = dict(decode_head=dict(num_classes=2))
