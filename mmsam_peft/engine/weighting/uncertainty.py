"""Uncertainty weighting (Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses for
Scene Geometry and Semantics", CVPR 2018)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...registry import WEIGHTINGS
from .base import LossWeighting


@WEIGHTINGS.register_module()
class Uncertainty(LossWeighting):
    """L = 1/T sum_t (exp(-s_t) L_t + s_t), with trained log-variances s_t that begin at 0, where it
    is ``Fixed``.

    The paper's sum of L_t / (2 sigma_t^2) + log sigma_t, s = 2 log sigma, is T/2 times that. At its
    minimum over s_t, exp(s_t) = L_t. The s_t of a task with a loss of exactly 0, as one without
    labels has, is left alone.
    """

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.log_variances = nn.Parameter(torch.zeros(len(tasks)))

    def weights(self, losses: Tensor | None) -> Tensor:
        return (-self.log_variances).exp() / len(self.scales)

    def terms(self, weights: Tensor, losses: Tensor) -> Tensor:
        log_variances = -(weights * len(self.scales)).log()
        return torch.where(losses != 0, weights * losses + log_variances / len(self.scales), 0)
