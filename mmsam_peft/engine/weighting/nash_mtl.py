"""Nash-MTL (Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022)."""

import numpy as np

from ...registry import WEIGHTINGS
from .base import GradientWeighting


@WEIGHTINGS.register_module()
class NashMTL(GradientWeighting):
    """The step sum_t a_t g_t that is the Nash bargaining solution: G'G a = 1 / a, a > 0, with the
    gradients g_t in G's columns.

    Put a_t = b_t / |g_t|: C b = 1 / b with the gradients' cosines C, so neither b nor the step
    depends on the gradients' lengths. b is the minimum of the convex b'Cb / 2 - sum_t log b_t,
    found by damped Newton steps. Where the gradients have a convex combination that is 0, so that
    no solution exists, 1e-8 on C's diagonal keeps it finite.

    The step is scaled by |G'G|_F^(1/2) / T, as in the authors' program but for T. That program also
    clips it to length 1: take the optimizer wrapper's ``clip_grad``.
    """

    def weights(self, gram: np.ndarray) -> np.ndarray:
        lengths = np.sqrt(gram.diagonal())
        cosines = gram / np.outer(lengths, lengths) + 1e-8 * np.eye(len(gram))
        b = np.ones(len(gram))
        for _ in range(100):
            slope = cosines @ b - 1 / b
            newton = np.linalg.solve(cosines + np.diag(b**-2), slope)
            decrement = np.sqrt(slope @ newton)
            b -= newton / (1 + decrement)
            if decrement < 1e-10:
                break
        return np.sqrt(np.linalg.norm(gram)) * b / lengths / len(gram)
