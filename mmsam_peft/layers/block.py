"""Transformer blocks on maps, with attention in windows or over the whole map: SAM's, and one that
may widen and pool, SAM 2's."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention, MapAttention, max_pooled

Made = TypeVar('Made')


class MapBlock(nn.Module):
    """Pre-norm transformer block on (B, H, W, C), with attention in windows of ``window_size``, or
    global where that is 0. A subclass makes ``norm1``, ``attn``, ``norm2`` and ``mlp``."""

    attn: MapAttention

    def __init__(self, window_size: int, checkpointing: bool) -> None:
        super().__init__()
        self.window_size, self.checkpointing = window_size, checkpointing

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """The map (B, H, W, C) after the block. ``extra`` tokens, (1, P, C) or (B, P, C), are seen
        by the attention of every window, normalised and projected like any other; they have no
        position and are not returned."""
        return self.run(self.transform, x, extra)

    def forward_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the ``extra`` tokens go through the block too: the map and the tokens
        (B, P, C) after it."""
        return self.run(self.transform_both, x, extra)

    def run(self, transform: Callable[..., Made], *inputs: Tensor | None) -> Made:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(transform, *inputs, use_reentrant=False)
        return transform(*inputs)

    def transform(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        y, extra = self.norm1(x), None if extra is None else self.norm1(extra)
        x = self.add(self.shortcut(x, y), self.attend(y, extra))
        return self.add(x, self.mlp(self.norm2(x)))

    def transform_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        y, z = self.norm1(x), self.norm1(extra)
        gain, extra_gain = self.attend_both(y, z)
        x, extra = self.add(self.shortcut(x, y), gain), self.add(self.widened(extra, z), extra_gain)
        return self.add(x, self.mlp(self.norm2(x))), self.add(extra, self.mlp(self.norm2(extra)))

    def shortcut(self, x: Tensor, y: Tensor) -> Tensor:
        """What the attention is added to, of the map and the normalised map."""
        return self.widened(x, y)

    def widened(self, x: Tensor, y: Tensor) -> Tensor:
        """What takes the place of the residual stream x, whose norm is y: itself, where the width
        stays."""
        return x

    def add(self, x: Tensor, gain: Tensor) -> Tensor:
        """The residual stream after an addition."""
        return x + gain

    def attend(self, x: Tensor, extra: Tensor | None) -> Tensor:
        if not self.window_size:
            return self.attn(x, extra)
        return self.attn.in_windows(x, self.window_size, extra)

    def attend_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """As ``attend``, and what the extra tokens get, (B, P, C): in a windowed block the mean
        over the image's windows."""
        if not self.window_size:
            return self.attn.attend_both(x, extra)
        return self.attn.both_in_windows(x, self.window_size, extra)


class Block(MapBlock):
    """SAM's; a subclass may have another attention, or another eps of its norms."""

    eps = 1e-6

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        window_size: int,
        grid: tuple[int, int],
        attention: str,
        checkpointing: bool,
    ) -> None:
        super().__init__(window_size, checkpointing)
        self.grid = grid
        self.norm1 = nn.LayerNorm(dim, eps=self.eps)
        self.attn = self.make_attention(
            dim, num_heads, (window_size, window_size) if window_size else grid, attention
        )
        self.norm2 = nn.LayerNorm(dim, eps=self.eps)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio))

    def make_attention(
        self, dim: int, num_heads: int, size: tuple[int, int], attention: str
    ) -> MapAttention:
        """For maps of ``size`` cells, or of others."""
        return Attention(dim, num_heads, size, attention)

    def resized(self, dim: int, num_heads: int, mlp_ratio: float) -> 'Block':
        """A new block of another width, with this one's windows, attention and checkpointing."""
        return type(self)(
            dim,
            num_heads,
            mlp_ratio,
            self.window_size,
            self.grid,
            self.attn.attention,
            self.checkpointing,
        )


class StageBlock(MapBlock):
    """SAM 2's: without relative positions, from ``dim`` channels to ``out``. Where ``pool`` is
    above 1, the map's sides get so many times smaller, and the windows too. Where the width
    changes, max_pool(proj(norm1(x))) takes the place of x as what the attention is added to.

    Raises:
        ValueError: Windows that ``pool`` does not divide; pooling at the same width.
    """

    def __init__(
        self,
        dim: int,
        out: int,
        num_heads: int,
        mlp_ratio: float,
        window_size: int,
        pool: int,
        attention: str,
        checkpointing: bool,
    ) -> None:
        super().__init__(window_size, checkpointing)
        if window_size % pool:
            raise ValueError(f'Windows of {window_size} cells cannot be pooled by {pool}.')
        if pool > 1 and dim == out:
            raise ValueError(f'A block pools by {pool}, but stays {dim} channels wide.')
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MapAttention(dim, num_heads, attention, out, pool)
        self.norm2 = nn.LayerNorm(out, eps=1e-6)
        self.mlp = MLPBlock(out, int(out * mlp_ratio))
        self.proj = nn.Linear(dim, out) if dim != out else None

    def shortcut(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.widened(x, y)
        return x if self.attn.pool == 1 else max_pooled(x, self.attn.pool)

    def widened(self, x: Tensor, y: Tensor) -> Tensor:
        return x if self.proj is None else self.proj(y)


def run_blocks(
    host: nn.Module, x: Tensor, first: int = 0, end: int | None = None
) -> Iterator[Tensor]:
    """The map (B, H, W, C) after each of ``host.blocks`` from ``first`` to before ``end``.

    Args:
        x: The padded images (B, 3, H, W), or the map before a later block.
    """
    if first == 0:
        x = host.add_position(host.patch_embed(x))
    for block in host.blocks[first:end]:
        x = block(x)
        yield x
