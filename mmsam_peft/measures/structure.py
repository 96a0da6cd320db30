"""S-measure of grey maps in 8 bits, from counts of pixels alone."""

import numpy as np

EPS = np.finfo(np.float64).eps


def level_counts(levels: np.ndarray, target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Valid pixels, (4, 2, 256): in each of the four blocks around the target's centroid, outside
    and inside the target, of each grey level. An empty target leaves all in one block.

    Args:
        levels: uint8 (H, W).
        target: bool (H, W), False where not valid.
        valid: bool (H, W).
    """
    cells = levels.astype(np.int64) + 256 * target + np.where(valid, 0, 512)
    row, col = (_centre(target.sum(axis)) + 1 for axis in (1, 0))
    blocks = np.s_[:row, :col], np.s_[:row, col:], np.s_[row:, :col], np.s_[row:, col:]
    counts = [np.bincount(cells[block].ravel(), minlength=512)[:512] for block in blocks]
    return np.stack(counts).reshape(4, 2, 256)


def _centre(sums: np.ndarray) -> int:
    """The mean place of what an axis holds; its end where it holds nothing."""
    total = sums.sum()
    return int(np.round(np.arange(sums.size) @ sums / total)) if total else sums.size


def s_measure(counts: np.ndarray, values: np.ndarray, alpha: float = 0.5) -> float:
    """Structure measure ``alpha S_object + (1 - alpha) S_region``, not below 0 (Fan et al., ICCV
    2017).

    An empty target scores ``1 - mean(pred)``, a full one ``mean(pred)``.

    Args:
        counts: As ``level_counts`` gives them.
        values: (256,), what the grey levels stand for, in [0, 1].
    """
    outside, inside = counts.sum(0)
    share = inside.sum() / counts.sum()
    if share in (0, 1):
        return abs(1 - share - (outside + inside) @ values / counts.sum())
    s_object = share * _object(inside, values) + (1 - share) * _object(outside, 1 - values)
    s_region = sum(
        (out.sum() + within.sum()) * _similarity(out, within, values)
        for out, within in counts
        if out.any() or within.any()
    )
    return max(0.0, alpha * s_object + (1 - alpha) * s_region / counts.sum())


def _object(counts: np.ndarray, values: np.ndarray) -> float:
    """``2 m / (m^2 + 1 + s)`` with mean m and sample deviation s of what should be 1 (eq. 4-6)."""
    mean = counts @ values / counts.sum()
    deviation = np.sqrt(counts @ (values - mean) ** 2 / max(counts.sum() - 1, 1))
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _similarity(outside: np.ndarray, inside: np.ndarray, values: np.ndarray) -> float:
    """``4 mx my sxy / ((mx^2 + my^2) (sxx + syy))`` of a block's map x and target y, with means and
    sample covariances: 1 for two constant blocks, 0 if only one is constant (eq. 1-3)."""
    both = outside + inside
    constant = np.count_nonzero(both) == 1, not (outside.any() and inside.any())
    if any(constant):  # else rounding of the mean decides between 0 and 1
        return float(all(constant))
    total = both.sum()
    mx, my = both @ values / total, inside.sum() / total
    x = values - mx
    sxx, syy = both @ x**2, total * my * (1 - my)
    sxy = (1 - my) * (inside @ x) - my * (outside @ x)
    less = max(total - 1, 1)
    return 4 * mx * my * (sxy / less) / ((mx**2 + my**2) * ((sxx + syy) / less) + EPS)
