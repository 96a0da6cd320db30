# python tools/train.py configs/convlora/trans10k_large.py
_base_ = './trans10k.py'
model = dict(checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth', backbone=dict(arch='large'))
