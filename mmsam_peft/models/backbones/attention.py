"""Multi-head attention with decomposed relative positions: a fused form and its eager twin.

For a query at (i, j) and a key at (i', j') of an H x W map the logit is

    scale * q.k  +  q.R_h[i - i']  +  q.R_w[j - j']

(Li et al., "MViTv2", 2022, eq. 4, as used by SAM's image encoder).
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASK_TOKENS = 256
"""Up to this many tokens an explicit bias is cheaper than the longer heads of the concatenated form."""


def resize_rel_pos(rel_pos: Tensor, distances: int) -> Tensor:
    """Relative positions learnt for other distances: (l, C) to (distances, C), linear."""
    if len(rel_pos) == distances:
        return rel_pos
    return F.interpolate(rel_pos.T[None].float(), size=distances, mode='linear')[0].T.to(rel_pos.dtype)


def rel_pos_rows(rel_pos: Tensor, size: int) -> Tensor:
    """Looks up R[i - i'] for all query rows i and key rows i'.

    Args:
        rel_pos: (L, C), learnt for L = 2 * n - 1 distances; linearly resized when n is not ``size``.

    Returns:
        (size, size, C)
    """
    index = torch.arange(size, device=rel_pos.device)
    return resize_rel_pos(rel_pos, 2 * size - 1)[index[:, None] - index[None, :] + size - 1]


def decomposed_bias(q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two position terms of every query: one value per key row, (B, heads, H * W, H), and per key column, (.., W)."""
    H, W = size
    q = q.unflatten(2, size)  # (B, heads, H, W, C)
    rel_h = torch.einsum('bnhwc,hkc->bnhwk', q, rel_pos_rows(rel_pos_h, H).to(q.dtype))
    rel_w = torch.einsum('bnhwc,wkc->bnhwk', q, rel_pos_rows(rel_pos_w, W).to(q.dtype))
    return rel_h.flatten(2, 3), rel_w.flatten(2, 3)


def _full_bias(rel_h: Tensor, rel_w: Tensor) -> Tensor:
    return (rel_h[..., :, None] + rel_w[..., None, :]).flatten(-2)  # (B, heads, H * W, H * W)


def eager_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """The formula as written, with the attention matrix in memory. All of q, k, v: (B, heads, H * W, C)."""
    return ((q * scale) @ k.transpose(-2, -1) + _full_bias(rel_h, rel_w)).softmax(-1) @ v


def concat_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """The position terms as extra channels, so that no attention matrix or bias is ever stored:

        q' = [scale * q, rel_h, rel_w],  k' = [k, onehot(row), onehot(col)],  softmax(q' k'^T) v

    v is padded to the length of q', as flash kernels want equal head sizes.
    """
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, 0)
    cols = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    position = torch.cat([rows, cols], -1).expand(*k.shape[:2], -1, -1)
    q = torch.cat([q * scale, rel_h, rel_w], -1)
    k = torch.cat([k, position], -1)
    padding = -q.shape[-1] % 8
    q, k = F.pad(q, (0, padding)), F.pad(k, (0, padding))
    channels = v.shape[-1]
    return F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[-1] - channels)), scale=1.0)[..., :channels]


def bias_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """Fused attention with the position terms as an additive mask: for maps small enough that the mask is cheap."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_full_bias(rel_h, rel_w), scale=scale)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    form = bias_attention if q.shape[2] <= MASK_TOKENS else concat_attention
    return form(q, k, v, rel_h, rel_w, scale)


ATTENTION = {'fused': fused_attention, 'eager': eager_attention}


class Attention(nn.Module):
    """Self-attention over a map (B, H, W, C), with the parameter names of SAM.

    Args:
        dim: Channels C.
        num_heads: Heads; C is divided among them.
        input_size: The (H, W) whose distances the relative positions are learnt for.
        attention: 'fused' or its twin 'eager'.
    """

    def __init__(self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused') -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.attention = attention
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size[0] - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size[1] - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, _ = x.shape
        # (B, H, W, 3C) -> three of (B, heads, H * W, C / heads)
        q, k, v = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        rel_h, rel_w = decomposed_bias(q, self.rel_pos_h, self.rel_pos_w, (H, W))
        x = ATTENTION[self.attention](q, k, v, rel_h, rel_w, self.scale)
        return self.proj(x.transpose(1, 2).reshape(B, H, W, -1))
