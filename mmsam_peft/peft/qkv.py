"""The rows of a fused qkv: which of them are q, k and v, and updates of some of them."""

from typing import NamedTuple

import torch
from torch import Tensor

QKV = ('q', 'k', 'v')


class QKVParts(NamedTuple):
    """Some of q, k and v (0, 1, 2) of a fused layer.

    Its rows are (groups, 3, n): 1 group for thirds, q before k before v; a group for each head
    where every head has its q, k and v side by side. What belongs to the chosen parts alone has
    rows (groups, len(chosen), n).
    """

    chosen: tuple[int, ...] = (0, 1, 2)
    groups: int = 1

    @property
    def whole(self) -> bool:
        return len(self.chosen) == len(QKV)


def count_rows(out_features: int, qkv_parts: QKVParts | None) -> int:
    """The rows of a layer that are adapted."""
    return out_features if qkv_parts is None else out_features // 3 * len(qkv_parts.chosen)


def scatter_qkv_rows(update: Tensor, qkv_parts: QKVParts | None) -> Tensor:
    """(rows of the chosen parts, ..) to (all rows, ..), zeros in the others."""
    if qkv_parts is None or qkv_parts.whole:
        return update
    chosen, groups = qkv_parts
    rows = dict(
        zip(chosen, update.unflatten(0, (groups, len(chosen), -1)).unbind(1), strict=True)
    )  # each (groups, n, ..)
    zeros = torch.zeros_like(rows[chosen[0]])
    return torch.stack([rows.get(part, zeros) for part in range(3)], 1).flatten(0, 2)


def gather_qkv_rows(values: Tensor, qkv_parts: QKVParts | None) -> Tensor:
    """(all rows, ..) to (rows of the chosen parts, ..)."""
    if qkv_parts is None or qkv_parts.whole:
        return values
    chosen, groups = qkv_parts
    return torch.stack(
        [values.unflatten(0, (groups, 3, -1))[:, part] for part in chosen], 1
    ).flatten(0, 2)


def split_qkv_columns(update: Tensor, qkv_parts: QKVParts) -> Tensor:
    """(rows of the chosen parts, r) to (all rows, len(chosen) * r): each part has r columns of its
    own, zeros elsewhere."""
    chosen, groups = qkv_parts
    rows = update.unflatten(0, (groups, len(chosen), -1)).unbind(1)  # each (groups, n, r)
    return torch.cat(
        [
            scatter_qkv_rows(one.flatten(0, 1), QKVParts((part,), groups))
            for part, one in zip(chosen, rows, strict=True)
        ],
        1,
    )


def from_thirds(y: Tensor, qkv_parts: QKVParts | None) -> Tensor:
    """(.., 3 * C), thirds of q, k and v, as the layer has its rows."""
    if qkv_parts is None or qkv_parts.groups == 1:
        return y
    return y.unflatten(-1, (3, qkv_parts.groups, -1)).transpose(-3, -2).flatten(-3)
