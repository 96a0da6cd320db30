"""segment-anything's own image encoder."""

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from mmsam_peft.peft import apply_peft, build_method


def build(peft):
    model = ImageEncoderViT(
        64,
        embed_dim=32,
        depth=2,
        num_heads=2,
        global_attn_indexes=(1,),
        window_size=3,
        out_chans=16,
        use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.peft = peft and build_method(peft)
    if peft:
        apply_peft(model, model.peft)
    return model


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    return model(*inputs)
