"""Attention with rotary positions in two dimensions (Heo et al., "Rotary Position Embedding for
Vision Transformer", 2024, the axial form, as used by SAM 3's image encoder).

Of a head's C channels, each pair (2i, 2i + 1) of a query or key at (row, column) is turned by an
angle: the first C / 4 pairs by column * f_i, the others by row * f_i, with

    f_i = theta^(-4i / C),   i = 0 .. C / 4 - 1,   theta = 10000

so that a logit depends on how far apart two cells are. In real arithmetic, which exporters know.
"""

import torch
from torch import Tensor

from .attention import MapAttention

THETA = 10000.0


def angles(size: tuple[int, int], spans: tuple[int, int], channels: int, like: Tensor) -> Tensor:
    """By which the pairs of a head of ``channels`` are turned in each cell of a map, (H * W,
    channels / 2), in float32 at least.

    Args:
        size: (H, W) of the map.
        spans: The rows and columns that the angles were learnt for: a map of another size is
            stretched over them.
        like: A tensor on the device, and of the dtype or a lower one.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    powers = torch.arange(0, channels // 2, 2, dtype=dtype, device=like.device) / (channels // 2)
    frequencies = 1.0 / THETA**powers
    rows, columns = (
        torch.arange(cells, dtype=dtype, device=like.device)[:, None] * (span / cells) * frequencies
        for cells, span in zip(size, spans, strict=True)
    )  # (H, channels / 4), (W, channels / 4)
    H, W = size
    return torch.cat([columns.expand(H, -1, -1), rows[:, None].expand(-1, W, -1)], -1).flatten(0, 1)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(.., N, C) with its pairs of channels turned by the angles whose ``cos`` and ``sin``, (N, C /
    2), are given; computed in their dtype."""
    a, b = x.to(cos.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


class RotaryAttention(MapAttention):
    """Self-attention over a map (B, H, W, C) whose queries and keys are turned by their positions.

    Extra tokens have no position: they are not turned, as if they were in the first cell.

    Args:
        input_size: The rows and columns that positions were learnt for, over which a map of any
            size is stretched.

    Raises:
        ValueError: Heads whose channels are no multiple of 4.
    """

    def __init__(
        self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused'
    ) -> None:
        super().__init__(dim, num_heads, attention)
        self.input_size = input_size
        if dim % (4 * num_heads):
            raise ValueError(
                f'{num_heads} heads of {dim} channels: rotary positions turn pairs of channels by '
                'rows and columns, so that each head needs a multiple of 4.'
            )

    def cells(self, y: Tensor) -> tuple[Tensor, ...]:
        q, k, v = self.heads(y)
        turn = angles(y.shape[-3:-1], self.input_size, q.shape[-1], q)
        cos, sin = turn.cos(), turn.sin()
        # a copy of v: autograd, which keeps it, would keep all of qkv with a view
        return turned(q, cos, sin), turned(k, cos, sin), v.contiguous()
