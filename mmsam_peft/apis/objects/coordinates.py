"""Points and boxes in pixels of an image: whether they are sound, and where they are in the
network's input."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]


class ToInput(NamedTuple):
    """From coordinates of an image to those of the network's input, as segment-anything's
    ``ResizeLongestSide``.

    Args:
        size: (H, W) of the network's input, without padding.
    """

    size: Size

    def apply_coords(self, coords: np.ndarray, original_size: Size) -> np.ndarray:
        """(..., 2), x and y, of an image of (H, W)."""
        return np.asarray(coords, np.float64) * self._scale(original_size)

    def apply_boxes(self, boxes: np.ndarray, original_size: Size) -> np.ndarray:
        """(N, 4), x0, y0, x1, y1."""
        corners = np.asarray(boxes).reshape(-1, 2, 2)
        return self.apply_coords(corners, original_size).reshape(-1, 4)

    def apply_coords_torch(self, coords: Tensor, original_size: Size) -> Tensor:
        return (
            coords.float() * torch.as_tensor(self._scale(original_size)).to(coords.device).float()
        )

    def apply_boxes_torch(self, boxes: Tensor, original_size: Size) -> Tensor:
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def _scale(self, original_size: Size) -> np.ndarray:
        return np.array(self.size)[::-1] / np.array(original_size)[::-1]


def checked_points(
    coords: np.ndarray | None, labels: np.ndarray | None, size: Size
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 2) and labels (P,) of an image of (H, W); none as P = 0.

    Raises:
        ValueError: One without the other; other shapes; labels that are not 1, 0 or -1; a point
            outside of the image, or NaN.
    """
    if coords is None and labels is None:
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    if coords is None or labels is None:
        given, other = ('labels', 'points') if coords is None else ('points', 'labels')
        raise ValueError(f'got {given} without {other}: every point has a label.')
    coords, labels = _numbers(coords, 'points'), _numbers(labels, 'labels')
    if coords.ndim != 2 or coords.shape[1] != 2 or labels.shape != coords.shape[:1]:
        raise ValueError(
            f'got points of {coords.shape} and labels of {labels.shape}, expected (P, 2), x and y, '
            'and (P,).'
        )
    if wrong := sorted(set(labels.tolist()) - {-1, 0, 1}):
        raise ValueError(
            f'got the label {wrong[0]:g}: a point is on the object (1), beside it (0), or none '
            '(-1).'
        )
    for (x, y), label in zip(coords.tolist(), labels.tolist(), strict=True):
        if label >= 0 and not (0 <= x <= size[1] and 0 <= y <= size[0]):
            raise ValueError(
                f'got the point x={x:g}, y={y:g}, which is outside of the image of {size[1]} x '
                f'{size[0]} pixels (width x height).{_turned(x, y, size)}'
            )
    return coords, labels.astype(np.int64)


def checked_boxes(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Boxes (N, 4) of an image of (H, W), what is outside of it cut off.

    Raises:
        ValueError: Another shape; a box without area, or without any inside of the image; NaN.
    """
    boxes = _numbers(boxes, 'boxes')
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f'got boxes of {boxes.shape}, expected x0, y0, x1, y1 of one, or (N, 4) of several.'
        )
    inside = boxes.clip(0, [size[1], size[0]] * 2)
    for given, left in zip(boxes.tolist(), inside.tolist(), strict=True):
        text = 'x0={:g}, y0={:g}, x1={:g}, y1={:g}'.format(*given)
        if not (given[0] < given[2] and given[1] < given[3]):
            raise ValueError(
                f'got the box {text}, which has no area: expected x0 < x1 and y0 < y1, its corners '
                'at the top left and the bottom right.'
            )
        if not (left[0] < left[2] and left[1] < left[3]):
            raise ValueError(
                f'got the box {text}, which is outside of the image of {size[1]} x {size[0]} '
                'pixels (width x height).'
            )
    return inside


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'got {what} that are no array of numbers: {error}') from None
    if not np.isfinite(array).all():
        raise ValueError(f'got {what} with NaN or infinite numbers.')
    return array


def _turned(x: float, y: float, size: Size) -> str:
    turned = 0 <= y <= size[1] and 0 <= x <= size[0]
    return ' x comes first, from the left; y second, from the top.' if turned else ''
