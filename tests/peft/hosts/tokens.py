"""An encoder of tokens (B, N, C) with separate q, k and v, and an mlp that is an nn.Sequential."""

import torch
from torch import nn
from torch.nn import functional as F

from mmsam_peft.peft import Anatomy, BlockParts, apply_peft, build_method

DIM, HEADS = 32, 2


class TokenBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_a, self.ln_b = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.query, self.key, self.value, self.out = (nn.Linear(DIM, DIM) for _ in range(4))
        self.feed = nn.Sequential(nn.Linear(DIM, 48), nn.GELU(), nn.Linear(48, DIM))

    def forward(self, x):
        y = self.ln_a(x)
        q, k, v = (
            layer(y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.feed(self.ln_b(x))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, DIM, 8, stride=8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.layers = nn.ModuleList(TokenBlock() for _ in range(2))
        self.norm = nn.LayerNorm(DIM)

    @property
    def anatomy(self) -> Anatomy:
        parts = BlockParts(
            linears=dict(q='query', k='key', v='value', proj='out', lin1='feed.0', lin2='feed.2'),
            mlp='feed',
        )
        return Anatomy(self.layers, parts, before=('embed.', 'cls_token'), patches=self.embed)

    def forward(self, x):
        x = self.embed(x).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def build(peft):
    model = Tokens()
    model.peft = peft and build_method(peft)
    if peft:
        apply_peft(model, model.peft)
    return model


def inputs(generator, batch):
    return (torch.randn(batch, 3, 32, 32, generator=generator),)


def run(model, inputs):
    return model(*inputs)
