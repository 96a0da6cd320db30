"""CAGrad (Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021)."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from ...registry import WEIGHTINGS
from .base import GradientWeighting


@WEIGHTINGS.register_module()
class CAGrad(GradientWeighting):
    """The step d near the mean gradient g_0 that helps most the task it helps least: max_d min_t
    g_t . d, |d - g_0| <= c |g_0|.

    d = g_0 + c |g_0| g_w / |g_w|, where g_w = sum_t w_t g_t and w, on the simplex, minimises g_w .
    g_0 + c |g_0| |g_w|.

    Args:
        c: 0 is the mean gradient; the paper uses 0.4 for NYUv2 and 0.2 for CityScapes.
    """

    def __init__(self, tasks: Mapping[str, float], c: float = 0.4) -> None:
        super().__init__(tasks)
        self.c = c

    def weights(self, gram: np.ndarray) -> np.ndarray:
        mean = np.full(len(gram), 1 / len(gram))
        radius = self.c * np.sqrt(mean @ gram @ mean)

        def length(w: np.ndarray) -> float:
            return np.sqrt(w @ gram @ w + 1e-16)

        def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
            return w @ gram @ mean + radius * length(w), gram @ mean + radius * gram @ w / length(w)

        simplex = dict(type='eq', fun=lambda w: w.sum() - 1, jac=np.ones_like)
        w = minimize(
            objective,
            mean,
            jac=True,
            method='SLSQP',
            bounds=[(0, 1)] * len(gram),
            constraints=simplex,
            options=dict(ftol=1e-12),
        ).x
        return mean + radius * w / length(w)
