"""Multi-head attention over small maps with a learnt bias for each distance (Graham et al.,
"LeViT", 2021, as used by TinyViT), fused and eager."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, _extend


class TableAttention(Attention):
    """Self-attention over a map (B, S, S, C). For a query at (i, j) and a key at (i', j') the logit
    is

        scale * q.k + table[|i - i'|, |j - j'|]

    with a table for each head. Extra tokens have no position: there the logit is scale * q.k alone.
    In ``qkv`` each head has its q, k and v side by side.

    Args:
        dim: Channels C.
        num_heads: Heads; C is divided among them.
        side: S.
        attention: 'fused' or its twin 'eager', which keeps the attention matrix.
    """

    def __init__(self, dim: int, num_heads: int, side: int, attention: str = 'fused') -> None:
        nn.Module.__init__(self)  # the parts are its own
        self.num_heads, self.side, self.attention = num_heads, side, attention
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, side**2))

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            self.qkv(x)
            .flatten(1, -2)
            .unflatten(-1, (self.num_heads, 3, -1))
            .permute(3, 0, 2, 1, 4)
            .unbind(0)
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        bias = _extend(self.bias(), q.shape[2], k.shape[2]).to(q.dtype)
        if self.attention == 'eager':
            x = ((q * self.scale) @ k.mT + bias).softmax(-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=self.scale)
        return self.proj(x.transpose(1, 2).flatten(2))

    def bias(self) -> Tensor:
        """That of every query and key of the map, (heads, S * S, S * S)."""
        cells = torch.arange(self.side, device=self.attention_biases.device)
        distance = (cells[:, None] - cells).abs()
        rows, columns = distance[:, None, :, None], distance[None, :, None, :]
        index = (rows * self.side + columns).flatten(2).flatten(0, 1)
        return self.attention_biases[:, index]
