"""Random loss weighting (Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test
for Multi-Task Learning", TMLR 2022)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...registry import WEIGHTINGS
from .base import LossWeighting


@WEIGHTINGS.register_module()
class RLW(LossWeighting):
    """L = sum_t weight_t L_t, weight = softmax(z), z_t ~ N(0, 1) anew in each iteration and the
    same in all processes."""

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.register_buffer('draw', torch.randint(2**31, ()))

    def weights(self, losses: Tensor | None) -> Tensor:
        generator = torch.Generator().manual_seed(int(self.draw))
        return torch.randn(len(self.scales), generator=generator, dtype=torch.double).softmax(0)

    def observe(self, losses: Tensor) -> None:
        self.draw += 1
