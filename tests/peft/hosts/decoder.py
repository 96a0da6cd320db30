"""The two-way transformer of SAM's mask decoder: two layers and the final attention, for three
tokens and a 4 x 4 map."""

import torch
from segment_anything.modeling.transformer import TwoWayTransformer

from mmsam_peft.peft import apply_peft, build_method


def build(peft):
    model = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
    model.peft = peft and build_method(peft)
    if peft:
        apply_peft(model, model.peft)
    return model


def inputs(generator, batch):
    return tuple(
        torch.randn(batch, *size, generator=generator) for size in ((32, 4, 4), (32, 4, 4), (3, 32))
    )


def run(model, inputs):
    tokens, image = model(*inputs)
    return torch.cat([tokens, image], 1)
