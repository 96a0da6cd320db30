"""Maps and their windows, and what a linear layer makes of a map in windows without computing its
padding.

Windows that a map does not fill are padded at the bottom and right. The padding takes part in the
attention, as keys and values, but a layer that looks at each cell by itself makes the same of all
padded cells. It gets the map's own cells and one padded cell, and nothing that is only padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def padded_to(x: Tensor, window: int, pad: Tensor | None = None) -> Tensor:
    """(B, H, W, C) with cells added at the bottom and right until windows divide it.

    Args:
        pad: What the cells are, (B or 1, 1, 1, C); zeros by default.
    """
    H, W = x.shape[1:3]
    rows, columns = -H % window, -W % window
    if pad is None:
        return F.pad(x, (0, 0, 0, columns, 0, rows)) if rows or columns else x
    if columns:
        x = torch.cat([x, pad.expand(x.shape[0], H, columns, -1)], 2)
    if rows:
        x = torch.cat([x, pad.expand(x.shape[0], rows, W + columns, -1)], 1)
    return x


def windows_of(x: Tensor, window: int) -> Tensor:
    """A view of a map that windows divide, (B, H, W, C), as (B, rows, columns, window, window,
    C)."""
    return x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)


def map_of(x: Tensor) -> Tensor:
    """The inverse, for windows of any shape: (B, rows, columns, h, w, C) to (B, H, W, C)."""
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, C) -> (B * windows, window, window, C), zero-padded; also the padded (Hp, Wp)."""
    x = padded_to(x, window)
    H, W = x.shape[1:3]
    return windows_of(x, window).flatten(0, 2), (H, W)


def window_unpartition(x: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse: (B * windows, window, window, C) -> (B, H, W, C), padding dropped."""
    rows, columns = padded[0] // x.shape[1], padded[1] // x.shape[2]
    return map_of(x.unflatten(0, (-1, rows, columns)))[:, : size[0], : size[1]]


def regions(y: Tensor, size: tuple[int, int], window: int) -> list[list[tuple[Tensor, tuple]]]:
    """A map, or one that is padded already, in rows of parts whose windows are padded alike: those
    of whole windows, those at the right, at the bottom and in the corner. Each with the (h, w)
    cells of its windows that are no padding.

    Args:
        y: (B, H or Hp, W or Wp, C)
        size: (H, W)
    """
    (H, W), (rows, columns) = size, y.shape[1:3]
    heights, widths = extents(H, window), extents(W, window)
    return [
        [
            (part, (h, w))
            for part, (_, w) in zip(line.split(lengths(widths, columns), 2), widths, strict=True)
        ]
        for line, (_, h) in zip(y.split(lengths(heights, rows), 1), heights, strict=True)
    ]


def extents(side: int, window: int) -> list[tuple[int, int]]:
    """A side of a map as the cells that fill whole windows, and the rest; beside each, how many of
    a window's cells that is."""
    rest = side % window
    return [(side - rest, window)] * (side > rest) + [(rest, rest)] * (rest > 0)


def lengths(found: list[tuple[int, int]], total: int) -> list[int]:
    """Of the parts of a side, of which the last has the padding, where there is some."""
    *first, _ = (length for length, _ in found)
    return [*first, total - sum(first)]


def cell_by_cell(layer: nn.Module) -> bool:
    """Whether what a layer makes of a cell depends on that cell alone. A plain linear layer says
    so by its type, a method's by an attribute of this name. (Dropout does not count: all padded
    cells share a draw.)"""
    return not is_hooked(layer) and getattr(layer, 'cell_by_cell', type(layer) is nn.Linear)


def is_hooked(layer: nn.Module) -> bool:
    """Whether somebody looks at what goes in or comes out, who is shown whole windows."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def project(
    layer: nn.Module, x: Tensor, window: int, pad: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """What a layer makes of a map in windows.

    Args:
        x: (B, H, W, in)
        pad: What pads the windows, (1, 1, 1, in); zeros by default.

    Returns:
        That of the map's cells, (B, H, W, out), and of each cell of the padding, (B, 1, 1, out).
        Where the padding's cells differ, or there are none: of all cells, (B, Hp, Wp, out), and
        None.
    """
    B, H, W, C = x.shape
    if not cell_by_cell(layer):
        if pad is None and getattr(layer, 'in_windows', None) and not is_hooked(layer):
            return layer.in_windows(x, window), None
        x = padded_to(x, window, pad)
        y = layer(windows_of(x, window).flatten(0, 2))
        return window_unpartition(y, x.shape[1:3], x.shape[1:3]), None
    if H % window == 0 and W % window == 0:
        return layer(x), None
    last = x.new_zeros(1, 1, C) if pad is None else pad[:, 0].to(x.dtype)
    y = layer(torch.cat([x.flatten(1, 2), last.expand(B, -1, -1)], 1))
    cells, last = y.split((H * W, 1), 1)  # a split's gradient is put together, a slice's added
    return cells.unflatten(1, (H, W)), last[:, None]
