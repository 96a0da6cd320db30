"""Multi-head attention with decomposed relative positions: a fused form and its eager twin.

For a query at (i, j) and a key at (i', j') of an H x W map the logit is

    scale * q.k  +  q.R_h[i - i']  +  q.R_w[j - j']

(Li et al., "MViTv2", 2022, eq. 4, as used by SAM's image encoder). Extra tokens, which follow those
of the map, have no position: where the query or the key is one of them, the logit is scale * q.k
alone. The attention functions take

    q, k, v: (B, heads, H * W [+ P], C)
    rel_h: (B, heads, H * W, H)    rel_w: (B, heads, H * W, W)

and return what every query gets, in the shape of q.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunked import chunked

is_exporting = getattr(
    torch.compiler, 'is_exporting', torch.compiler.is_compiling
)  # before torch 2.7 the two are one


def resize_rel_pos(rel_pos: Tensor, distances: int) -> Tensor:
    """Relative positions learnt for other distances: (l, C) to (distances, C), linear."""
    if len(rel_pos) == distances:
        return rel_pos
    return F.interpolate(rel_pos.T[None].float(), size=distances, mode='linear')[0].T.to(
        rel_pos.dtype
    )


def rel_pos_rows(rel_pos: Tensor, size: int) -> Tensor:
    """R[i - i'] for all query rows i and key rows i', as (size, C, size): a copy of overlapping
    slices, without an index.

    Args:
        rel_pos: (L, C), learnt for L = 2 * n - 1 distances; linearly resized when n is not
            ``size``.
    """
    return resize_rel_pos(rel_pos, 2 * size - 1).unfold(0, size, 1).flip(-1)


def decomposed_bias(
    q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The two position terms of every query: one value per key row, (B, heads, H * W, H), and per
    key column, (.., W)."""
    H, W = size
    q = q.unflatten(2, size)  # (B, heads, H, W, C)
    rel_h = torch.einsum('bnhwc,hck->bnhwk', q, rel_pos_rows(rel_pos_h, H).to(q.dtype))
    rel_w = torch.einsum('bnhwc,wck->bnhwk', q, rel_pos_rows(rel_pos_w, W).to(q.dtype))
    return rel_h.flatten(2, 3), rel_w.flatten(2, 3)


def _extend(x: Tensor, rows: int, columns: int) -> Tensor:
    """Zeros after the last row and column, up to (.., rows, columns); x itself where none are
    missing."""
    missing = (0, columns - x.shape[-1], 0, rows - x.shape[-2])
    return F.pad(x, missing) if any(missing) else x


def _full_bias(rel_h: Tensor, rel_w: Tensor, queries: int, keys: int) -> Tensor:
    bias = (rel_h[..., :, None] + rel_w[..., None, :]).flatten(-2)  # (B, heads, H * W, H * W)
    return _extend(bias, queries, keys)


def eager_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The formula as written, with the attention matrix in memory."""
    return (
        (q * scale) @ k.transpose(-2, -1) + _full_bias(rel_h, rel_w, q.shape[2], k.shape[2])
    ).softmax(-1) @ v


def concat_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The position terms as extra channels, so that no attention matrix or bias is ever stored:

        q' = [scale * q, rel_h, rel_w],  k' = [k, onehot(row), onehot(col)],  softmax(q' k'^T) v

    The extra channels of extra tokens are zero. Flash kernels want heads of equal size, a multiple
    of 8: v is padded to it.
    """
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, 0)
    cols = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    position = _extend(torch.cat([rows, cols], -1), k.shape[2], H + W).expand(*k.shape[:2], -1, -1)
    q = torch.cat([q * scale, _extend(rel_h, q.shape[2], H), _extend(rel_w, q.shape[2], W)], -1)
    k = torch.cat([k, position], -1)
    width = q.shape[-1] + -q.shape[-1] % 8
    padded = (_extend(x, x.shape[2], width) for x in (q, k, v))
    return F.scaled_dot_product_attention(*padded, scale=1.0)[..., : v.shape[-1]]


def bias_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """Fused attention with the position terms as an additive mask: for maps small enough that the
    mask is cheap."""
    bias = _full_bias(rel_h, rel_w, q.shape[2], k.shape[2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def chunked_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The formula in chunks of the attention matrix that stay in the cache; see ``chunked.py``."""
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rel_h, rel_w = _extend(rel_h, q.shape[2], H), _extend(rel_w, q.shape[2], W)
    return chunked(*(x.flatten(0, 1) for x in (q, k, v, rel_h, rel_w)), scale).view(q.shape)


FORMS = {
    'cpu': {math.inf: chunked_attention},
    'other': {256: bias_attention, math.inf: concat_attention},
}
"""By device, the fused form for up to so many queries: the fastest on CPUs as measured by
benchmarks/attention.py; elsewhere the forms that flash and memory-efficient kernels take, with
their gradients."""


def fused_form(device: str, queries: int) -> Callable[..., Tensor]:
    """The form for a type of device; to be exported, one of PyTorch's own operators, which run
    where this package is not."""
    forms = FORMS['other' if is_exporting() or device not in FORMS else device]
    return next(form for limit, form in forms.items() if queries <= limit)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    return fused_form(q.device.type, q.shape[2])(q, k, v, rel_h, rel_w, scale)


ATTENTION = {'fused': fused_attention, 'eager': eager_attention}


def append(tokens: Tensor, extra: Tensor) -> Tensor:
    """(B, heads, N, C) and, after them, (E, heads, P, C), each of the E for B / E neighbours in
    B."""
    copies = tokens.shape[0] // extra.shape[0]  # len() would be a constant of an exported graph
    return torch.cat([tokens, extra[:, None].expand(-1, copies, -1, -1, -1).flatten(0, 1)], 2)


class MapAttention(nn.Module):
    """Self-attention over a map (B, H, W, C), without positions, with the parameter names of SAM.

    Args:
        dim: Channels C.
        num_heads: Heads; the channels of the output are divided among them.
        attention: 'fused' or its twin 'eager'.
        out: Channels of queries, keys, values and output; C by default.
        pool: The queries, and so the output, are those of a map whose sides are so many times
            smaller: the largest values of pool x pool cells.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        attention: str = 'fused',
        out: int | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        out = out or dim
        self.num_heads, self.attention, self.pool = num_heads, attention, pool
        self.scale = (out // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * out)
        self.proj = nn.Linear(out, out)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Attention of the map over itself and the keys and values of ``extra`` tokens.

        Args:
            x: (B, H, W, C)
            extra: (E, P, C) without position, each of the E for B / E maps in a row: those of an
                image, for its windows.

        Returns:
            (B, H / pool, W / pool, out)
        """
        q, k, v = self.heads(x)
        if extra is not None:
            _, extra_k, extra_v = self.heads(extra)
            k, v = append(k, extra_k), append(v, extra_v)
        return self.proj(self.attend(q, k, v, x.shape[1:3]).unflatten(1, self.pooled_size(x)))

    def attend_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the ``extra`` tokens attend too, in every map: also returns what they
        get there, (B, P, out)."""
        q, k, v = (append(*pair) for pair in zip(self.heads(x), self.heads(extra), strict=True))
        y = self.attend(q, k, v, x.shape[1:3])
        tokens = y.shape[1] - extra.shape[1]
        return self.proj(y[:, :tokens].unflatten(1, self.pooled_size(x))), self.proj(y[:, tokens:])

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of a map (B, H, W, C) or of N tokens (B, N, C), each (B, heads,
        H * W or N, out / heads)."""
        return (
            self.qkv(x)
            .flatten(1, -2)
            .unflatten(-1, (3, self.num_heads, -1))
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )

    def pooled_size(self, x: Tensor) -> tuple[int, int]:
        return x.shape[1] // self.pool, x.shape[2] // self.pool

    def attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """What every query gets, before ``proj``, (B, queries, out); the first H * W queries and
        keys are those of the map."""
        if self.pool > 1:
            tokens = size[0] * size[1]
            own, extra = self.pooled(q[:, :, :tokens], size), q[:, :, tokens:]
            q = torch.cat([own, extra], 2) if extra.shape[2] else own
        if self.attention == 'fused':
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            x = (q * self.scale @ k.mT).softmax(-1) @ v
        return x.transpose(1, 2).flatten(2)

    def pooled(self, q: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, heads, H * W, n) to (B, heads, H * W / pool^2, n)."""
        x = q.transpose(1, 2).unflatten(1, size).flatten(3)  # (B, H, W, out)
        return (
            max_pooled(x, self.pool)
            .flatten(1, 2)
            .unflatten(2, (self.num_heads, -1))
            .transpose(1, 2)
        )


def max_pooled(x: Tensor, pool: int) -> Tensor:
    """(B, H, W, C) to (B, H / pool, W / pool, C): the largest values of pool x pool cells."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), pool).permute(0, 2, 3, 1)


class Attention(MapAttention):
    """With SAM's decomposed relative positions.

    Args:
        input_size: The (H, W) whose distances the relative positions are learnt for.
    """

    def __init__(
        self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused'
    ) -> None:
        super().__init__(dim, num_heads, attention)
        self.input_size = input_size
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size[0] - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size[1] - 1, dim // num_heads))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        rel_h, rel_w = decomposed_bias(
            q[:, :, : size[0] * size[1]], self.rel_pos_h, self.rel_pos_w, size
        )
        x = ATTENTION[self.attention](q, k, v, rel_h, rel_w, self.scale)
        return x.transpose(1, 2).flatten(2)
