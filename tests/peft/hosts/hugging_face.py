"""Hugging Face's SamVisionEncoder."""

import torch
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from mmsam_peft.peft import apply_peft, build_method

CONFIG = SamVisionConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    global_attn_indexes=[1],
    window_size=3,
    image_size=64,
    mlp_dim=64,
    output_channels=16,
    initializer_range=0.1,
)  # by default 1e-10


def build(peft):
    model = SamVisionEncoder(CONFIG)
    model.peft = peft and build_method(peft)
    if peft:
        apply_peft(model, model.peft)
    return model


def inputs(generator, batch):
    return (torch.randn(batch, 3, 64, 64, generator=generator),)


def run(model, inputs):
    return model(*inputs).last_hidden_state
