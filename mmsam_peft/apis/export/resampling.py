"""Resizing as products with matrices, which any exporter and runtime has: Pillow's antialiased
filters on the way to the network, PyTorch's bilinear interpolation on the way back.

An axis of n pixels becomes one of m by a matrix (m, n). What depends on the size of an image is in
the values of the matrices and never decides what is computed, so that one graph serves all sizes.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor, a: float = -0.5) -> Tensor:
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {
    'area': _box,
    'bilinear': _triangle,
    'bicubic': _cubic,
    'lanczos': _lanczos,
}


def antialiased(new: int, made: Tensor | int, old: int, interpolation: str) -> Tensor:
    """Pillow's filter for an axis of ``old`` pixels that becomes one of ``made``, (new, old), with
    rows of zeros from ``made`` on.

    Args:
        made: At most ``new``; a number, or a tensor of one.
    """
    scale = torch.full((), old, dtype=torch.float64) / made
    stretch = scale.clamp(min=1)
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    cells = torch.arange(old, dtype=torch.float64) + 0.5
    weights = FILTERS[interpolation]((cells - centres[:, None]) / stretch)
    weights = weights * (torch.arange(new) < made)[:, None]
    total = weights.sum(1, keepdim=True)
    return (weights / torch.where(total == 0, 1.0, total)).float()


def shrunk(images: Tensor, rows: Tensor, columns: Tensor, whole: bool) -> Tensor:
    """(B, C, h, w) by matrices (H, h) and (W, w) to (B, C, H, W), columns first; ``whole`` rounds
    after each axis to 0 .. 255, as Pillow does for images of 8 bits. Its weights are whole numbers
    of 2^-22, so that what is near a half may differ by one."""
    images = images @ columns.T
    if whole:
        images = (images + 0.5).floor().clamp(0, 255)
    images = rows @ images
    return (images + 0.5).floor().clamp(0, 255) if whole else images


def bilinear(new: int, made: Tensor | int, old: int) -> Tensor:
    """``F.interpolate(mode='bilinear', align_corners=False)`` for the first ``made`` of ``old``
    pixels of an axis that become ``new``: (new, old)."""
    last = torch.full((), made, dtype=torch.float64) - 1 if isinstance(made, int) else made - 1
    place = (torch.arange(new, dtype=torch.float64) + 0.5) * ((last + 1) / new) - 0.5
    place = torch.minimum(place.clamp(min=0), last)
    return _triangle(torch.arange(old, dtype=torch.float64) - place[:, None]).float()


def sides_in_proportion(
    height: int, width: int, long_sides: tuple[int, int], rounding: str
) -> tuple[Tensor, Tensor]:
    """The sides of an image made to fit into (long, short), as float64."""
    h, w = (torch.full((), side, dtype=torch.float64) for side in (height, width))
    longest, shortest = torch.maximum(h, w), torch.minimum(h, w)
    if rounding == 'half_even':
        rows, columns = ((side * long_sides[0] / longest).round().clamp(min=1) for side in (h, w))
        return rows, columns
    scale = torch.minimum(long_sides[0] / longest, long_sides[1] / shortest)
    return (h * scale + 0.5).floor(), (w * scale + 0.5).floor()
