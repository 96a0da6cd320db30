"""Geometric loss strategy (Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and
Geometric Loss Strategy for Multi-Task Learning", CVPR 2019 workshops)."""

import torch
from torch import Tensor

from ...registry import WEIGHTINGS
from .base import LossWeighting
from .step import average


@WEIGHTINGS.register_module()
class GLS(LossWeighting):
    """L = (prod_t L_t)^(1/T), by its derivatives: weight_t = L / (T L_t), from losses averaged over
    processes.

    The step's direction does not depend on the scales of the losses. A loss of exactly 0, as of a
    task without labels, is left out, and T is the number of the others.
    """

    can_run_one_by_one = False

    def weights(self, losses: Tensor | None) -> Tensor:
        losses = average(losses)
        known = losses != 0
        number = known.sum().clamp(min=1)
        mean = (torch.where(known, losses, 1).log().sum() / number).exp()
        return torch.where(known, mean / (number * losses), 0)
