# python tools/train.py configs/segformer/camvid_b2.py
_base_ = ['../_base_/networks/segformer_b2.py', '../_base_/datasets/camvid.py']
model = dict(decode_head=dict(num_classes=11))
