"""How sure a difference between two methods is: paired bootstrap over seeds and images."""

from dataclasses import dataclass

import numpy as np

from .results import Trained

DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods, its 95 % interval, and the two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    images: int


def bootstrap(differences: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Resamples seeds and images, each with replacement and independently of the other.

    The mean of a bootstrap sample of S values varies (S - 1) / S as much as it should, half for two
    seeds: deviations from the mean over seeds, and from that over images, are scaled by sqrt(S / (S
    - 1)) first (Rao and Wu, "Resampling inference with complex survey data", JASA 1988). One seed
    says nothing about others: the interval then is over images alone.

    Args:
        differences: ``(S, N)``: of S seeds and N images, the same for both methods.
        draws, seed: Of the bootstrap.
    """
    S, N = differences.shape
    mean = differences.mean()
    seeds, images = (differences.mean(axis, keepdims=True) - mean for axis in (1, 0))
    rest = differences - mean - seeds - images
    grow_s, grow_i = (np.sqrt(n / (n - 1)) if n > 1 else 1.0 for n in (S, N))
    scaled = mean + grow_s * seeds + grow_i * images + grow_s * grow_i * rest
    rng = np.random.default_rng(seed)
    of_seeds, of_images = (
        rng.multinomial(n, np.full(n, 1 / n), size=draws) / n for n in (S, N)
    )  # how often each is drawn
    means = np.einsum('ds,sn,dn->d', of_seeds, scaled, of_images, optimize=True)
    low, high = np.quantile(means, (0.025, 0.975))
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (draws + 1))
    return Difference(float(mean), float(low), float(high), float(p), S, N)


def paired(one: Trained, other: Trained, metric: str) -> np.ndarray | None:
    """Scores of ``one`` less those of ``other``, ``(S, N)``, on the seeds and images that both
    have; None: the metric is none of single images that a mean is taken of.

    The mean over images has to be the metric itself. Where it is not, as for a pooled mIoU, the
    images' own scores say nothing about it.
    """
    common = sorted(one.results.keys() & other.results.keys())
    rows = []
    for seed in common:
        values = []
        for trained in (one, other):
            images = {
                path: scores[metric]
                for path, scores in trained.images[seed].items()
                if metric in scores
            }
            whole = trained.results[seed]['scores'].get(metric)
            if not images or whole is None:
                return None
            if abs(np.mean(list(images.values())) - whole) > 1e-4 * max(1, abs(whole)):
                return None
            values.append(images)
        if values[0].keys() != values[1].keys():
            return None
        rows.append([values[0][path] - values[1][path] for path in sorted(values[0])])
    return np.array(rows) if rows else None


def holm(p_values: list[float]) -> list[float]:
    """The p-values of so many comparisons together (Holm 1979): the smallest times n, the next
    times n - 1, ..., none below the one before."""
    order, adjusted, least = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
