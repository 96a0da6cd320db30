# python tools/train.py configs/convlora/kvasir_large.py
_base_ = './kvasir.py'
model = dict(checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth', backbone=dict(arch='large'))
