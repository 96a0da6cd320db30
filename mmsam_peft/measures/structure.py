"""S-measure and weighted F-measure of grey maps.

All functions take ``pred`` float64 ``(H, W)`` in [0, 1], ``target`` bool ``(H, W)`` (False where
not valid) and ``valid`` bool ``(H, W)``; what is predicted where ``valid`` is False changes
nothing.
"""

import numpy as np
from scipy import ndimage

EPS = np.finfo(np.float64).eps


def s_measure(pred: np.ndarray, target: np.ndarray, valid: np.ndarray, alpha: float = 0.5) -> float:
    """Structure measure ``alpha S_object + (1 - alpha) S_region``, not below 0 (Fan et al., ICCV
    2017).

    An empty target scores ``1 - mean(pred)``, a full one ``mean(pred)``.
    """
    share = target.sum() / valid.sum()
    if share in (0, 1):
        return abs(1 - share - pred[valid].mean())
    inside, outside = pred[target], 1 - pred[valid & ~target]
    s_object = share * _object(inside) + (1 - share) * _object(outside)
    return max(0.0, alpha * s_object + (1 - alpha) * _region(pred, target, valid))


def _object(values: np.ndarray) -> float:
    """``2 m / (m^2 + 1 + s)`` with mean m and sample deviation s of what should be 1 (eq. 4-6)."""
    mean, deviation = values.mean(), np.sqrt(_covariance(values, values))
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _region(pred: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    """Similarity of the four blocks around the target's centroid, weighted by their size (eq.
    1-3)."""
    row, col = (int(np.round(axis.mean())) + 1 for axis in np.nonzero(target))
    score = 0.0
    for block in np.s_[:row, :col], np.s_[:row, col:], np.s_[row:, :col], np.s_[row:, col:]:
        inside = valid[block]
        if inside.any():
            score += inside.sum() * _similarity(
                pred[block][inside], target[block][inside].astype(np.float64)
            )
    return score / valid.sum()


def _similarity(x: np.ndarray, y: np.ndarray) -> float:
    """``4 mx my sxy / ((mx^2 + my^2) (sxx + syy))``: 1 for two constant blocks, 0 if only one is
    constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # else rounding of the mean decides between 0 and 1
        return float(np.ptp(x) == np.ptp(y))
    mx, my = x.mean(), y.mean()
    return (
        4
        * mx
        * my
        * _covariance(x, y)
        / ((mx**2 + my**2) * (_covariance(x, x) + _covariance(y, y)) + EPS)
    )


def _covariance(x: np.ndarray, y: np.ndarray) -> float:
    """Sample covariance; 0 for a single value."""
    return np.dot(x - x.mean(), y - y.mean()) / max(x.size - 1, 1)


def weighted_f(
    pred: np.ndarray, target: np.ndarray, valid: np.ndarray, beta2: float = 1.0
) -> float:
    """Weighted F-measure (Margolin et al., CVPR 2014), 0 for an empty target.

    The error of a target pixel may be explained by its neighbours (Gaussian, 7 x 7, deviation 5);
    the error of a background pixel weighs ``2 - exp(ln(1/2) d / 5)``, with d its distance in pixels
    to the target.
    """
    if not target.any():
        return 0.0
    error = np.abs(pred - target)
    distance, nearest = ndimage.distance_transform_edt(~target, return_indices=True)
    spread = ndimage.gaussian_filter(error[tuple(nearest)], sigma=5, radius=3, mode='constant')
    inside = np.minimum(error, spread)[target]
    background = valid & ~target
    outside = error[background] * (2 - 0.5 ** (distance[background] / 5))

    tp = target.sum() - inside.sum()
    recall, precision = 1 - inside.mean(), tp / (tp + outside.sum() + EPS)
    return (1 + beta2) * recall * precision / (recall + beta2 * precision + EPS)
