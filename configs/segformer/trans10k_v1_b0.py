# python tools/train.py configs/segformer/trans10k_v1_b0.py
_base_ = ['../_base_/networks/segformer_b0.py', '../_base_/datasets/trans10k_v1.py']
model = dict(decode_head=dict(num_classes=3))
