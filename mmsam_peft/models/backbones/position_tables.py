"""Tables of positions with a row for a class token before them, as vision transformers are
pretrained with, and as maps, as encoders here hold them."""

import math

import torch
from torch import Tensor


def as_map(table: Tensor, source: str) -> Tensor:
    """(1, N, C), a row for each cell of a square and perhaps one for a class token before them, to
    (1, h, w, C); what is a map stays one. ValueError where N is no such number."""
    if table.dim() == 4:
        return table
    side = math.isqrt(table.shape[1])
    if table.shape[1] - side**2 not in (0, 1):
        raise ValueError(
            f'{source}: the table of positions has {table.shape[1]} rows, expected one for each '
            'cell of a square, and perhaps one for a class token.'
        )
    return table[:, -(side**2) :].unflatten(1, (side, side))


def with_class_row(table: Tensor) -> Tensor:
    """The inverse, (1, 1 + N, C). The class token's position, which nothing uses, is zero."""
    table = table.flatten(1, 2)
    return torch.cat([torch.zeros_like(table[:, :1]), table], 1)
