"""What a Hiera-like encoder has that SAM's has not: maps that halve and widen between stages, by a
block-level ``proj`` of the residual stream; mlp layers of other names; a fused qkv in which every
head has its q, k and v side by side."""

import torch
from torch import nn

from mmsam_peft.peft import Anatomy, BlockParts, apply_peft, build_method

HEADS = 2


class Attention(nn.Module):
    def __init__(self, dim: int, out: int, pool: bool) -> None:
        super().__init__()
        self.pool, self.qkv, self.proj = pool, nn.Linear(dim, 3 * out), nn.Linear(out, out)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (HEADS, 3, -1)).unbind(-2)  # (B, H, W, heads, n)
        q = halved(q.flatten(-2)).unflatten(-1, (HEADS, -1)) if self.pool else q
        B, H, W, _, _ = q.shape
        q, k, v = (one.flatten(1, 2).transpose(1, 2) for one in (q, k, v))
        y = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(B, H, W, -1))


class MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)])

    def forward(self, x):
        return self.layers[1](self.layers[0](x).relu())


class StageBlock(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(out)
        self.attn, self.mlp = Attention(dim, out, dim != out), MLP(out)
        self.proj = nn.Linear(dim, out) if dim != out else None

    def forward(self, x):
        y = self.norm1(x)
        if self.proj is not None:
            x = halved(self.proj(y))
        x = x + self.attn(y)
        return x + self.mlp(self.norm2(x))


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 7, stride=4, padding=3)
        self.stem_pos = nn.Parameter(torch.randn(1, 8, 8, 16))
        stages = [StageBlock(16, 16)], [StageBlock(16, 32), StageBlock(32, 32)]
        self.stages = nn.ModuleList(nn.ModuleList(blocks) for blocks in stages)
        self.neck = nn.Conv2d(32, 8, 1)

    @property
    def anatomy(self) -> Anatomy:
        parts = BlockParts(
            linears=dict(
                qkv='attn.qkv', proj='attn.proj', lin1='mlp.layers.0', lin2='mlp.layers.1'
            ),
            mlp='mlp',
            qkv_groups=HEADS,
        )
        return Anatomy(
            [block for stage in self.stages for block in stage],
            parts,
            before=('patch_embed.', 'stem_pos'),
            can={'maps'},
            patches=self.patch_embed,
        )

    def forward(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1) + self.stem_pos
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


def halved(x):
    """(B, H, W, C) to (B, H / 2, W / 2, C)."""
    return nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def build(peft):
    model = Stages()
    model.peft = peft and build_method(peft)
    if peft:
        apply_peft(model, model.peft)
    return model


def inputs(generator, batch):
    return (torch.randn(batch, 3, 32, 32, generator=generator),)


def run(model, inputs):
    return model(*inputs)
