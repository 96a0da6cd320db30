"""EfficientSAM's encoder: two global blocks on a 4 x 4 grid, with positions learnt for another."""

import torch

from mmsam_peft.models.backbones.efficient_sam import EfficientSAMViT

ARCH = dict(embed_dim=32, depth=2, num_heads=2, learnt_size=3, out_channels=16)


def build(peft, **settings):
    return EfficientSAMViT(ARCH, img_size=64, peft=peft, **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    return model(*inputs)[0]
