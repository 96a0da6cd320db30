"""SAM's encoder: one windowed and one global block on a 4 x 4 grid, which the windows of 3 do not
divide."""

import torch

from mmsam_peft.models.backbones import SAMViT

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)


def build(peft, **settings):
    return SAMViT(ARCH, img_size=64, peft=peft, **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    return model(*inputs)[0]
