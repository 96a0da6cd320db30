"""The areas of objects, and how they become pixels.

Coordinates are in pixels: x to the right, y down, the image's first pixel covers 0 to 1. A pixel
belongs to a polygon if its centre does, but for a fifth of a pixel at the edge: COCO's own program
draws all polygons, of every format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..checks.problems import size_text

CIRCLE = 180
"""Corners of a polygon that stands for a circle."""
OUTSIDE = 2, 0.01
"""Points may lie outside the image by so many pixels, or by this share of its side if that is
more: tools round."""


@dataclass(frozen=True)
class Patch:
    """Pixels of an object: ``inside`` (h, w), bool, whose first is pixel (top, left)."""

    top: int
    left: int
    inside: np.ndarray

    def paint(self, mask: np.ndarray, value: int) -> None:
        """Sets the pixels of a mask (H, W)."""
        height, width = self.inside.shape
        mask[self.top : self.top + height, self.left : self.left + width][self.inside] = value


class Shape(Protocol):
    """What an object covers of an image."""

    area: float

    def patch(self) -> Patch: ...


def rle_tools():
    """pycocotools.mask. ImportError with what to install."""
    try:
        from pycocotools import mask
    except ImportError:
        raise ImportError(
            "polygons and COCO's masks are read with pycocotools, which is not installed: "
            "pip install -e '.[labels]'"
        ) from None
    return mask


class Polygons:
    """Rings of one object, joined; each is filled by the even-odd rule.

    Args:
        rings: points (N, 2), x and y.
        size: (H, W) of the image, at whose edge the area ends.

    Raises:
        ValueError: fewer than 3 points, not finite, or far outside the image.
    """

    def __init__(self, rings: Sequence[np.ndarray], size: tuple[int, int]) -> None:
        if not rings:
            raise ValueError('got no outline, expected a polygon or a mask')
        self.rings = [_ring(points, size) for points in rings]
        self.size = size
        self.area = sum(map(_area, self.rings))

    def patch(self) -> Patch:
        top, left, height, width = self._box()
        if not height or not width:
            return Patch(top, left, np.zeros((height, width), bool))
        tools = rle_tools()
        inside = tools.decode(tools.merge(self._encoded(top, left, height, width)))
        return Patch(top, left, inside > 0)

    def nested(self) -> bool:
        """Whether all rings lie inside one of them, so that they add nothing to it."""
        box = self._box()
        if len(self.rings) == 1 or 0 in box[2:]:
            return False
        tools, encoded = rle_tools(), self._encoded(*box)
        areas = sorted(tools.area(encoded))
        return areas[-2] > 0 and tools.area(tools.merge(encoded)) == areas[-1]

    def _box(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the pixels that hold all rings."""
        points = np.concatenate(self.rings)
        low, high = np.floor(points.min(0)) - 1, np.ceil(points.max(0)) + 1
        left, top = np.maximum(low, 0).astype(int).tolist()
        right, bottom = np.minimum(high, self.size[::-1]).astype(int).tolist()
        return top, left, max(bottom - top, 0), max(right - left, 0)

    def _encoded(self, top: int, left: int, height: int, width: int) -> list[dict]:
        rings = [(ring - (left, top)).ravel().tolist() for ring in self.rings]
        return rle_tools().frPyObjects(rings, height, width)


class Runs:
    """COCO's run lengths of a whole image, column by column, uncompressed or compressed.

    Raises:
        ValueError: they do not fill the image, exactly.
    """

    def __init__(self, stored: dict, size: tuple[int, int]) -> None:
        counts, own = stored.get('counts'), tuple(stored.get('size') or ())
        if own != size:
            got = size_text(own) if len(own) == 2 else f'size={own}'
            raise ValueError(f'got a mask of {got} pixels, the image has {size_text(size)}')
        try:
            runs = _runs(counts) if isinstance(counts, str) else np.array(counts, np.int64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError('got a mask without run lengths (counts) that can be read') from None
        if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
            raise ValueError(f'got run lengths that do not fill {size_text(size)} pixels')
        self.runs, self.size, self.area = runs, size, float(runs[1::2].sum())

    def patch(self) -> Patch:
        inside = np.repeat(np.arange(len(self.runs)) % 2 > 0, self.runs)
        return Patch(0, 0, inside.reshape(self.size[::-1]).T)


def _runs(text: str) -> np.ndarray:
    """The run lengths in COCO's text: numbers of 5 bits a letter, the lowest first and signed, a
    further bit for "more follows"; from the fourth on less the one two places before."""
    letters = np.frombuffer(text.encode('ascii'), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters < 32)
    if not len(ends) or ends[-1] != len(letters) - 1 or letters.min() < 0 or letters.max() > 63:
        raise ValueError('got letters that are no run lengths')
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(letters)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 10:
        raise ValueError('got run lengths that are too long')
    numbers = np.add.reduceat((letters & 31) << 5 * place, starts)
    numbers -= (letters[ends] & 16 > 0) * (1 << 5 * (place[ends] + 1))
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


class Grid:
    """Pixels ``inside`` (h, w) of a part of the image; what lies beyond the image's edge is cut.

    Raises:
        ValueError: nothing of it lies in the image.
    """

    def __init__(
        self, inside: np.ndarray, size: tuple[int, int], top: int = 0, left: int = 0
    ) -> None:
        bottom, right = max(size[0] - top, 0), max(size[1] - left, 0)
        inside = inside[max(-top, 0) : bottom, max(-left, 0) : right]
        if not inside.size:
            raise ValueError(f'got a mask at ({left}, {top}), outside of {size_text(size)} pixels')
        self.top, self.left, self.inside = max(top, 0), max(left, 0), inside
        self.area = float(inside.sum())

    def patch(self) -> Patch:
        return Patch(self.top, self.left, self.inside)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0
) -> np.ndarray:
    """Points (N, 2) on an ellipse, which is turned clockwise."""
    angles = np.linspace(0, 2 * np.pi, CIRCLE, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], -1) * radii
    return turned(points, degrees) + centre


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points (N, 2) turned clockwise, as one sees it, around (0, 0)."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def _ring(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    points = np.asarray(points, float).reshape(-1, 2)
    if len(points) < 3:
        raise ValueError(f'got a polygon of {len(points)} points, expected 3 at least')
    if not np.isfinite(points).all():
        raise ValueError('got a polygon with NaN or infinite coordinates')
    sides = np.array(size[::-1])
    if points.min() >= 0 and points.max() <= 1 < sides.min():
        raise ValueError(
            f'got a polygon whose coordinates all lie between 0 and 1, expected pixels of '
            f'{size_text(size)}: multiply x by the width and y by the height'
        )
    beyond = np.maximum(-points, points - sides)
    if (beyond > np.maximum(OUTSIDE[0], OUTSIDE[1] * sides)).any():
        x, y = points[beyond.max(-1).argmax()]
        raise ValueError(
            f'got the point ({x:g}, {y:g}), which is outside of {size_text(size)} pixels'
        )
    return points


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
