"""Multi-head attention over small maps with a learnt bias for each distance (Graham et al.,
"LeViT", 2021, as used by TinyViT), fused and eager."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import MapAttention


class TableAttention(MapAttention):
    """Self-attention over a map (B, H, W, C). For a query at (i, j) and a key at (i', j') the logit
    is

        scale * q.k + table[|i - i'|, |j - j'|]

    with a table for each head. Extra tokens have no position: there the logit is scale * q.k alone.
    In ``qkv`` each head has its q, k and v side by side.

    Args:
        input_size: The (H, W) of all maps that it sees.
    """

    def __init__(
        self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused'
    ) -> None:
        super().__init__(dim, num_heads, attention)
        self.input_size = input_size
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, input_size[0] * input_size[1]))

    def heads(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.apart(y.unflatten(-1, (self.num_heads, 3, -1)).unbind(-2))

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        size: tuple[int, int],
        seen: tuple[int, int],
    ) -> Tensor:
        bias = self.bias()
        if size != seen:
            bias = bias.unflatten(1, seen)[:, : size[0], : size[1]].flatten(1, 2)
        missing = (0, k.shape[2] - bias.shape[2], 0, q.shape[2] - bias.shape[1])
        bias = F.pad(bias, missing).to(q.dtype)
        if self.attention == 'eager':
            x = (q * self.scale @ k.mT + bias).softmax(-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=self.scale)
        return x.transpose(1, 2).flatten(2)

    def bias(self) -> Tensor:
        """That of every query and key of the map, (heads, H * W, H * W)."""
        rows, columns = (
            (cells[:, None] - cells).abs()
            for cells in (
                torch.arange(side, device=self.attention_biases.device) for side in self.input_size
            )
        )
        index = rows[:, None, :, None] * len(columns) + columns[None, :, None, :]
        return self.attention_biases[:, index.flatten(2).flatten(0, 1)]
