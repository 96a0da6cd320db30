"""Weighted F-measure of grey maps."""

import cv2
import numpy as np

EPS = np.finfo(np.float64).eps
WEIGHTS = 2 - 0.5 ** (np.sqrt(np.arange(2**17)) / 5)
"""Of a background pixel, by the square of its distance, which is a whole number; 2 beyond."""
RADIUS = 3
"""Pixels from the middle of the Gaussian to its end."""
NEAR = sorted(
    (
        (row, col)
        for row in range(-4, 5)
        for col in range(-4, 5)
        if 0 < row**2 + col**2 <= 2 * RADIUS**2
    ),
    key=lambda one: (one[0] ** 2 + one[1] ** 2, one[1], one[0]),
)
"""Ways to a pixel near by, from the shortest to the longest; of equal ones, the one further left
first, then that further up: so SciPy's distance transform, and with it the authors' program and
PySODMetrics, choose."""


def weighted_f(
    pred: np.ndarray, target: np.ndarray, valid: np.ndarray, beta2: float = 1.0
) -> float:
    """Weighted F-measure (Margolin et al., CVPR 2014), 0 for an empty target.

    The error of a target pixel may be explained by its neighbours (Gaussian, 7 x 7, deviation 5),
    where a background pixel has the error of the target pixel next to it; the error of a background
    pixel weighs ``2 - exp(ln(1/2) d / 5)``, with d its distance in pixels to the target.

    Args:
        pred: float64 (H, W) in [0, 1]; what stands where not valid changes nothing.
        target: bool (H, W), False where not valid.
        valid: bool (H, W).
        beta2: Weight of recall against precision; 1 is the authors'.
    """
    if not target.any():
        return 0.0
    error = np.abs(pred - target) * valid
    part = around(target | (error > 0), RADIUS)
    error, target, valid = error[part], target[part], valid[part]
    kernel = cv2.getGaussianKernel(2 * RADIUS + 1, 5, cv2.CV_64F)
    carried = carry(error, target)
    spread = cv2.sepFilter2D(carried, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    inside = np.minimum(error, spread)[target]
    distance = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squares = np.minimum(np.rint(distance**2), len(WEIGHTS) - 1).astype(np.int32)
    weight = WEIGHTS[squares] * (valid & ~target)

    tp = target.sum() - inside.sum()
    recall, precision = 1 - inside.mean(), tp / (tp + np.vdot(error, weight) + EPS)
    return (1 + beta2) * recall * precision / (recall + beta2 * precision + EPS)


def around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rectangle of a mask that is not empty, with a margin inside of the image."""
    rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return _around(rows, margin), _around(cols, margin)


def _around(places: np.ndarray, margin: int) -> slice:
    return slice(max(0, places[0] - margin), places[-1] + 1 + margin)


def carry(error: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``error`` (H, W) in which background pixels have the value of the target pixel nearest to
    them; only within the Gaussian's reach, where it matters."""
    square = np.ones((2 * RADIUS + 1,) * 2, np.uint8)
    reached = cv2.dilate(target.astype(np.uint8), square).astype(bool) & ~target
    reach = max(max(way) for way in NEAR)
    padded = np.pad(target, reach)
    rows, cols = np.nonzero(reached)
    carried, width = error.copy(), padded.shape[1]
    flat, places = padded.ravel(), (rows + reach) * width + cols + reach
    left = np.arange(len(rows))
    for row, col in NEAR:
        found = flat[places[left] + row * width + col]
        there = left[found]
        carried[rows[there], cols[there]] = error[rows[there] + row, cols[there] + col]
        left = left[~found]
        if not left.size:
            break
    return carried
