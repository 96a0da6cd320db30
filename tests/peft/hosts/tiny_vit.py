"""MobileSAM's encoder: convolutions before and between its stages, which widen; windows that the
maps do not fill; batch norms that keep their statistics."""

import torch

from mmsam_peft.layers.conv_norm import StoredNorm
from mmsam_peft.models.backbones import TinyViT

ARCH = dict(
    embed_dims=(8, 16, 16, 32),
    depths=(1, 1, 1, 1),
    num_heads=(2, 2, 4),
    window_sizes=(3, 2, 3),
    out_channels=16,
)


def build(peft, **settings):
    model = TinyViT(ARCH, img_size=64, peft=peft, **settings)
    with torch.random.fork_rng():  # as pretraining leaves them
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, StoredNorm):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
    return model


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    return model(*inputs)[0]
