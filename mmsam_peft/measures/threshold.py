"""F-measure and E-measure of binary maps, from pixel counts alone: one map, or all 256 thresholds
of a grey map at once.

``tp`` and ``fp`` are the foreground pixels of the map inside and outside the target, scalars or
arrays over thresholds; ``positives`` and ``total`` count the target's and all pixels.
"""

import numpy as np

EPS = np.finfo(np.float64).eps


def counts_at_thresholds(levels: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(tp, fp)``, each ``(256,)``, of the maps ``levels >= t`` for t = 0..255.

    Args:
        levels: uint8 grey levels ``(N,)``.
        target: bool ``(N,)``.
    """
    counts = [np.bincount(levels[where], minlength=256) for where in (target, ~target)]
    return at_or_above(counts[0]), at_or_above(counts[1])


def at_or_above(counts: np.ndarray) -> np.ndarray:
    """From counts of each level (256,), those of the level and all above it."""
    return counts[::-1].cumsum()[::-1]


def f_measure(tp: np.ndarray, fp: np.ndarray, positives: int, beta2: float = 0.3) -> np.ndarray:
    """``F = (1 + b2) P R / (b2 P + R) = (1 + b2) TP / (b2 positives + TP + FP)``, 0 without a true
    positive.

    Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """
    return (
        (1 + beta2) * tp / np.maximum(beta2 * positives + tp + fp, 1)
    )  # the denominator is below 1 only where tp = 0


def e_measure(tp: np.ndarray, fp: np.ndarray, positives: int, total: int) -> np.ndarray:
    """Enhanced-alignment measure (Fan et al., IJCAI 2018, eq. 2-5) from the four cells (map,
    target) in {0, 1}^2.

    With ``f`` and ``g`` minus their means, ``xi = 2 f g / (f^2 + g^2)`` and ``E = sum((1 + xi)^2 /
    4) / (total - 1)``, the divisor of the authors' program: a perfect map scores slightly above 1.
    An empty target scores the part of the image left out, a full one the part covered.
    """
    found = tp + fp
    if positives in (0, total):
        return (found if positives else total - found) / (total - 1 + EPS)
    cells = ((1, 1, tp), (1, 0, fp), (0, 1, positives - tp), (0, 0, total - positives - fp))
    score = np.zeros_like(found, dtype=float)
    for f, g, count in cells:
        f, g = f - found / total, g - positives / total
        xi = 2 * f * g / (f**2 + g**2 + EPS)
        score = score + count * (1 + xi) ** 2 / 4
    return score / (total - 1 + EPS)
