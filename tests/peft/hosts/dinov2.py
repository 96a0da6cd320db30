"""Hugging Face's DINOv2: tokens with a class token before a 2 x 3 map."""

import torch

from mmsam_peft.models.backbones.hf_vit import HFViT

ARCH = dict(
    model_type='dinov2',
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    mlp_ratio=2,
    patch_size=8,
    image_size=16,
)


def build(peft, **settings):
    return HFViT(ARCH, img_size=(16, 24), peft=peft, out_indices=(1,), **settings)


def inputs(generator, batch):
    return (torch.randn(batch, 3, 16, 24, generator=generator),)


def run(model, inputs):
    return model(*inputs)[0]
