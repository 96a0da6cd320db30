"""Hugging Face's DINOv3: rotary positions, a class token and four register tokens before a 2 x 3
map, and a gated mlp."""

import torch

from mmsam_peft.models.backbones.hf_vit import HFViT

ARCH = dict(
    model_type='dinov3_vit',
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    patch_size=8,
    use_gated_mlp=True,
)


def build(peft, **settings):
    return HFViT(ARCH, img_size=(16, 24), peft=peft, out_indices=(1,), **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 16, 24, generator=generator),)


def run(model, inputs):
    return model(*inputs)[0]
