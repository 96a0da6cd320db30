"""How far a score over a set of images could be off by the choice of these images."""

from collections.abc import Callable, Mapping

import numpy as np

Statistics = Mapping[str, np.ndarray]
"""For each name, numbers of each image, (n, ...)."""
LARGEST = 2**24
"""Numbers drawn or held at a time."""


def bootstrap(
    statistics: Statistics,
    score: Callable[[dict[str, np.ndarray], float], Mapping[str, float | np.ndarray]],
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Percentile intervals: images are drawn with replacement, as many as there are, and scored
    anew. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        statistics: Of n images; a score has to follow from their sums over images.
        score: Scores by name from these sums and the number of images.
        level: Share of the draws inside of the interval.

    Returns:
        Lower and upper ends by name; NaN where a score is not defined in any draw.

    Raises:
        ValueError: There is no image.
    """
    n = len(next(iter(statistics.values())))
    if not n:
        raise ValueError('got no image, expected at least one to draw from.')
    generator = np.random.default_rng(seed)
    flat = {name: np.asarray(one, np.float64).reshape(n, -1) for name, one in statistics.items()}
    shapes = {name: np.shape(one)[1:] for name, one in statistics.items()}
    scores: dict[str, list] = {}
    at_once = max(1, min(draws, LARGEST // max(n, *(one.shape[1] for one in flat.values()))))
    for start in range(0, draws, at_once):
        number = min(at_once, draws - start)
        times = generator.multinomial(n, np.full(n, 1 / n), size=number).astype(np.float64)
        sums = {name: times @ one for name, one in flat.items()}
        for i in range(number):
            drawn = {name: one[i].reshape(shapes[name]) for name, one in sums.items()}
            for name, value in score(drawn, n).items():
                scores.setdefault(name, []).append(value)
    return {name: _interval(np.array(values), level) for name, values in scores.items()}


def _interval(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Of (draws, ...), over the draws that have a value."""
    ends = np.full((2, *values.shape[1:]), np.nan)
    for place in np.ndindex(values.shape[1:]):
        column = values[(slice(None), *place)]
        known = column[np.isfinite(column)]
        if known.size:
            ends[(slice(None), *place)] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return ends[0], ends[1]
