"""MGDA (Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018)."""

import numpy as np
from scipy.optimize import nnls

from ...registry import WEIGHTINGS
from .base import GradientWeighting


@WEIGHTINGS.register_module()
class MGDA(GradientWeighting):
    """The shortest vector in the convex hull of the gradients: min |sum_t w_t g_t|, w_t >= 0, sum_t
    w_t = 1.

    It is a descent direction for each task, or 0 where no direction is. Without the sum's
    condition, but its violation as one more square, this is a problem of non-negative least squares
    whose solution is a multiple of w.
    """

    def weights(self, gram: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(gram)
        root = np.sqrt(values.clip(0))[:, None] * vectors.T  # root' root = gram
        w, _ = nnls(np.vstack([root, np.ones(len(gram))]), np.append(np.zeros(len(gram)), 1))
        return w / w.sum()
