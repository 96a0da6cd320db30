"""Conv-LoRA's multi-scale convolutions (paper, eq. 4-5), in closed form; and their plain twin.

For a map z of (r, H, W), expert s computes E_s(z) = down_s(GELU(conv3x3_s(up_s(z)))). Up-sampling
is linear, and down-sampling (bicubic, align_corners=False, no antialias) of cell i reads the
up-sampled map at few fixed positions p_t(i) with weights d_t:

    odd s:  one,  s i + (s - 1) / 2,      d = 1
    even s: four, s i + s / 2 - 2 + t,    d = -3/32, 19/32, 19/32, -3/32,   clamped to the map

So the convolution is only needed there. With U_s (s H, H) the up-sampling of an axis, and U_s[p] =
0 outside the map, as the convolution pads with zeros,

    E_s(z)[i, j] = sum_tt' d_t d_t' GELU(b + sum_uv W[u, v] sum_kl U_s[p_t(i) + u, k] z[k, l]
    U_s[p_t'(j) + v, l])

u, v = -1, 0, 1: products with constant matrices of 4 H x 3 H, exact at the borders and for any s, H
and W, and nothing of size s H x s W. Odd s have three taps of weight zero, so that all experts have
one shape and each sample takes its own by an index.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.constants import kept

TAPS = ((1.0, 0.0, 0.0, 0.0), (-3 / 32, 19 / 32, 19 / 32, -3 / 32))
"""d_t for odd and for even s."""

Like = tuple[torch.device, torch.dtype]
Scales = tuple[int, ...]
"""The scale of each expert."""


def make_tables(size: int, scales: Scales, like: Like) -> Tensor:
    """(M, 4 * size, size * 3): for each scale s, row (t, i) and column (k, u), U_s[p_t(i) + u,
    k]."""
    tables = []
    for s in scales:
        eye = torch.eye(size, dtype=torch.float64, device='cpu')[None, :, :, None]
        U = F.interpolate(eye, size=(s * size, 1), mode='bicubic')[0, :, :, 0].T  # (s * size, size)
        U = F.pad(U, (0, 0, 1, 1))
        i, t = torch.arange(size, device='cpu'), torch.arange(4, device='cpu')[:, None]
        position = s * i + (s // 2 - 2 + t if s % 2 == 0 else (s - 1) // 2 + 0 * t)  # (4, size)
        position = position.clamp(0, s * size - 1)
        rows = torch.stack(
            [U[position + u] for u in range(3)], -1
        )  # (4, size, size, 3); the padding shifts u to 0, 1, 2
        tables.append(rows.flatten(2).flatten(0, 1))
    return torch.stack(tables).to(*like)


@kept
def tables(size: int, scales: Scales, like: Like) -> tuple[Tensor, Tensor]:
    """The table of an axis, to multiply from the left, and as (M, size * 3, 4 * size) from the
    right, columns (i, t)."""
    table = make_tables(size, scales, like)
    return table, table.view(len(scales), 4, size, -1).permute(0, 3, 2, 1).flatten(2)


@kept
def tap_weights(scales: Scales, like: Like) -> Tensor:
    """(M, 4)"""
    return torch.tensor([TAPS[s % 2 == 0] for s in scales], device=like[0], dtype=like[1])


def chosen_experts(
    z: Tensor, weight: Tensor, bias: Tensor, expert: Tensor, scales: Scales | None = None
) -> Tensor:
    """E_e(z) of each sample.

    Args:
        z: (B, H, W, r)
        weight, bias: Of all M experts, (M, r, r, 3, 3) and (M, r).
        expert: (B,), which to take, 0 to M - 1.
        scales: Of the experts, by default 1 to M.

    Returns:
        (B, H, W, r)
    """
    (B, H, W, r), like = z.shape, (z.device, z.dtype)
    scales = scales or tuple(range(1, len(weight) + 1))
    rows, cols, d = (
        tables(H, scales, like)[0][expert],
        tables(W, scales, like)[1][expert],
        tap_weights(scales, like)[expert],
    )
    kernel = (
        weight[expert].permute(0, 2, 3, 1, 4).reshape(B, r, -1)
    )  # (B, o, c, u, v) -> (B, c, u * o * v)

    x = (z.flatten(1, 2) @ kernel).view(B, H, W, 3, r, 3)  # (B, H, W, u, o, v)
    x = rows @ x.permute(0, 1, 3, 4, 2, 5).reshape(
        B, H * 3, -1
    )  # (B, H * u, o * W * v) -> (B, 4 * H, o * W * v)
    x = x.view(B, 4 * H * r, W * 3) @ cols  # (B, 4 * H * o, W * 4)
    x = F.gelu(x.view(B, 4, H, r, -1) + bias[expert][:, None, None, :, None])
    x = x.view(B, -1, 4) @ d[:, :, None]  # (B, 4 * H * o * W, 1)
    x = d[:, None] @ x.view(B, 4, -1)  # (B, 1, H * o * W)
    return x.view(B, H, r, W).transpose(2, 3)


def all_experts(z: Tensor, weight: Tensor, bias: Tensor, scales: Scales | None = None) -> Tensor:
    """E_e(z) of every expert for every sample, (M, B, H, W, r)."""
    M, B = len(weight), z.shape[0]
    expert = torch.arange(M, device=z.device)[:, None].expand(M, B).flatten()
    return chosen_experts(z.repeat(M, 1, 1, 1), weight, bias, expert, scales).unflatten(0, (M, B))


def plain_experts(z: Tensor, weight: Tensor, bias: Tensor, expert: Tensor) -> Tensor:
    """The same as the formula says it: every expert for every sample, up-sampling and all, and each
    sample's own is taken."""
    z = z.permute(0, 3, 1, 2)
    total = torch.zeros_like(z)
    for e in range(len(weight)):
        size = [(e + 1) * side for side in z.shape[2:]]
        y = F.gelu(
            F.conv2d(F.interpolate(z, size=size, mode='bicubic'), weight[e], bias[e], padding=1)
        )
        total = total + (expert == e)[:, None, None, None] * F.interpolate(
            y, size=z.shape[2:], mode='bicubic'
        )
    return total.permute(0, 2, 3, 1)
