# python tools/train.py configs/convlora/camvid_large.py
_base_ = './camvid.py'
model = dict(checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth', backbone=dict(arch='large'))
