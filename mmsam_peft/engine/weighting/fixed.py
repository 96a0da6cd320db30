"""Fixed weights."""

import torch
from torch import Tensor

from ...registry import WEIGHTINGS
from .base import LossWeighting


@WEIGHTINGS.register_module()
class Fixed(LossWeighting):
    """L = sum_t w_t L_t / sum_t w_t, with the weights w_t of the tasks."""

    def weights(self, losses: Tensor | None) -> Tensor:
        return torch.full((len(self.scales),), 1 / len(self.scales), dtype=torch.double)
