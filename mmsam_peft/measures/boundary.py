"""Boundary IoU."""

import cv2
import numpy as np


def boundary_width(shape: tuple[int, int], dilation_ratio: float = 0.02) -> int:
    """How far a boundary reaches into a mask (H, W), in pixels: a share of the image's diagonal, at
    least 1."""
    return max(1, round(dilation_ratio * float(np.hypot(*shape))))


def boundary(mask: np.ndarray, valid: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask, bool (H, W), from which the outside is at most ``width`` pixels away,
    along rows, columns and diagonals; beyond the image is outside. A border with pixels that are
    not valid is none.

    Source: Cheng et al., Boundary IoU (CVPR 2021, arXiv 2103.16562), the authors' program, whose
    ``width`` erosions by 3 x 3 pixels are one by a square.
    """
    square = np.ones((2 * width + 1,) * 2, np.uint8)
    inner = cv2.erode(
        (mask | ~valid).astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return mask & valid & (inner == 0)


def boundary_counts(
    pred: np.ndarray, target: np.ndarray, valid: np.ndarray, dilation_ratio: float = 0.02
) -> tuple[int, int]:
    """Pixels in both boundaries and in either, of two masks, bool (H, W)."""
    width = boundary_width(target.shape, dilation_ratio)
    one, other = (boundary(mask, valid, width) for mask in (pred, target))
    return int(np.count_nonzero(one & other)), int(np.count_nonzero(one | other))
