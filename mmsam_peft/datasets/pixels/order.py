"""The bands of an image in another order."""

from collections.abc import Sequence

import cv2
import numpy as np


def in_order(values: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """``values[..., order]`` of (H, W, bands), contiguous; without a copy where that is possible,
    and by OpenCV where three bands of 8 bits or float32 are turned round, which takes NumPy twenty
    times as long."""
    order = list(order)
    if order == list(range(values.shape[2])):
        return np.ascontiguousarray(values)
    if order == [2, 1, 0] and values.shape[2] == 3:
        turned = values[..., ::-1]
        plain = values.dtype in (np.uint8, np.float32) and values.flags.c_contiguous
        if plain and not turned.flags.c_contiguous:
            return cv2.cvtColor(values, cv2.COLOR_RGB2BGR)
        return np.ascontiguousarray(turned)
    if order == [0, 0, 0] and values.dtype in (np.uint8, np.float32):
        return cv2.merge([np.ascontiguousarray(values[..., 0])] * 3)
    return np.ascontiguousarray(values[..., order])
