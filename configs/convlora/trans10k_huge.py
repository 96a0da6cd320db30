# python tools/train.py configs/convlora/trans10k_huge.py
_base_ = './trans10k.py'
model = dict(checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth', backbone=dict(arch='huge'))
