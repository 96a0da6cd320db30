"""SAM 2's encoder: three stages with a windowed and a global block, on maps of 16, 8 and 4 cells,
which the windows of the second and third do not divide."""

import torch

from mmsam_peft.models.backbones.hiera import Hiera

POOLS = True
ARCH = dict(
    embed_dim=16,
    num_heads=1,
    stages=(1, 2, 1),
    windows=(8, 6, 3),
    global_attn_indexes=(2,),
    background=3,
    out_channels=16,
)


def build(peft, **settings):
    return Hiera(ARCH, img_size=64, peft=peft, **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    """The maps' cells side by side, (B, C, N)."""
    return torch.cat([x.flatten(2) for x in model(*inputs)], 2)
