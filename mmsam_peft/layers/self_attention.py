"""Multi-head self-attention over a map, without positions of its own: what all encoders' attention
has in common."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def append(tokens: Tensor, extra: Tensor) -> Tensor:
    """(B, heads, N, C) and, after them, (E, heads, P, C), each of the E for B / E neighbours in
    B."""
    copies = len(tokens) // len(extra)
    return torch.cat([tokens, extra[:, None].expand(-1, copies, -1, -1, -1).flatten(0, 1)], 2)


class SelfAttention(nn.Module):
    """Self-attention over a map (B, H, W, C), with the parameter names of SAM.

    Args:
        dim: Channels C.
        num_heads: Heads; C is divided among them.
        input_size: The (H, W) that positions, where there are any, were learnt for.
        attention: 'fused' or its twin 'eager', which keeps the attention matrix.
    """

    def __init__(
        self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused'
    ) -> None:
        super().__init__()
        self.num_heads, self.input_size = num_heads, input_size
        self.scale = (dim // num_heads) ** -0.5
        self.attention = attention
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Attention of the map over itself and the keys and values of ``extra`` tokens.

        Args:
            x: (B, H, W, C)
            extra: (E, P, C) without position, each of the E for B / E maps in a row: those of an
                image, for its windows.

        Returns:
            (B, H, W, C)
        """
        q, k, v = self.heads(x)
        if extra is not None:
            _, extra_k, extra_v = self.heads(extra)
            k, v = append(k, extra_k), append(v, extra_v)
        return self.attend(q, k, v, x.shape[1:3]).reshape(-1, *x.shape[1:])

    def attend_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the ``extra`` tokens attend too, in every map: also returns what they
        get there, (B, P, C)."""
        q, k, v = (append(*pair) for pair in zip(self.heads(x), self.heads(extra), strict=True))
        y = self.attend(q, k, v, x.shape[1:3])
        tokens = y.shape[1] - extra.shape[1]
        return y[:, :tokens].reshape(x.shape), y[:, tokens:]

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of a map (B, H, W, C) or of N tokens (B, N, C), each (B, heads,
        H * W or N, C / heads)."""
        return (
            self.qkv(x)
            .flatten(1, -2)
            .unflatten(-1, (3, self.num_heads, -1))
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """What every query gets, (B, queries, C); the first H * W queries and keys are those of the
        map."""
        return self.proj(self.mix(q, k, v, size).transpose(1, 2).flatten(2))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """softmax(scale * q k^T) v, in the shape of q."""
        if self.attention == 'eager':
            return ((q * self.scale) @ k.mT).softmax(-1) @ v
        return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
