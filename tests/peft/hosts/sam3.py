"""SAM 3's encoder: one windowed and one global block on a 4 x 4 grid, which the windows of 3 do not
divide."""

import torch

from mmsam_peft.models.backbones.sam3_vit import SAM3ViT

ARCH = dict(
    embed_dim=32,
    depth=2,
    num_heads=2,
    global_attn_indexes=(1,),
    window_size=3,
    learnt_size=3,
    mlp_ratio=2,
    out_channels=16,
)


def build(peft, **settings):
    return SAM3ViT(ARCH, img_size=56, peft=peft, **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 56, 56, generator=generator),)


def run(model, inputs):
    return torch.cat([level.flatten(1) for level in model(*inputs)], 1)
