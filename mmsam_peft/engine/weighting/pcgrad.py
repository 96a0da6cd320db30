"""PCGrad (Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020)."""

from collections.abc import Mapping

import numpy as np
import torch

from ...registry import WEIGHTINGS
from .base import GradientWeighting


@WEIGHTINGS.register_module()
class PCGrad(GradientWeighting):
    """Where the gradients of two tasks conflict, each loses what points against the other; then the
    mean is taken.

    For each task i: d = g_i, and for the other tasks j in random order, the same in all processes,
    if d . g_j < 0: d <- d - (d . g_j) g_j / |g_j|^2. The step is the mean of the d. The paper's is
    their sum.
    """

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.register_buffer('draw', torch.randint(2**31, ()))

    def weights(self, gram: np.ndarray) -> np.ndarray:
        order = np.random.default_rng(int(self.draw))
        self.draw += 1
        projected = np.eye(len(gram))  # d_i = sum_j projected[i, j] g_j
        for i, d in enumerate(projected):
            for j in order.permutation(len(gram)):
                product = d @ gram[j]
                if i != j and product < 0:
                    d[j] -= product / gram[j, j]
        return projected.mean(0)
