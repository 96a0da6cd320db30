# python tools/train.py configs/convlora/camvid_huge.py
_base_ = './camvid.py'
model = dict(checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth', backbone=dict(arch='huge'))
