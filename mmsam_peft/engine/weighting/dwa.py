"""Dynamic weight average (Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR
2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...registry import WEIGHTINGS
from .base import LossWeighting
from .step import average


@WEIGHTINGS.register_module()
class DWA(LossWeighting):
    """L = sum_t weight_t L_t, weight = softmax(r / temperature), r_t = L_t(k - 1) / L_t(k - 2): who
    learns slowly weighs more.

    L_t(k) is the mean loss in the k-th interval; r_t = 1 in the first two, and where a loss is not
    known. The paper's weights are T times these.

    Args:
        interval: Iterations of an interval; the paper has an epoch's.
        temperature: Evens the weights out.
    """

    def __init__(
        self, tasks: Mapping[str, float], interval: int = 100, temperature: float = 2.0
    ) -> None:
        super().__init__(tasks)
        self.interval, self.temperature = interval, temperature
        self.register_buffer('iterations', torch.zeros((), dtype=torch.long))
        self.register_buffer(
            'totals', torch.zeros(2, len(tasks))
        )  # of this interval: sums and numbers of losses
        self.register_buffer(
            'means', torch.zeros(2, len(tasks))
        )  # of the last interval and the one before; 0: not known

    def weights(self, losses: Tensor | None) -> Tensor:
        ratio = torch.where(self.means.prod(0) > 0, self.means[0] / self.means[1], 1)
        return (ratio / self.temperature).softmax(0)

    def observe(self, losses: Tensor) -> None:
        losses = average(losses).to(self.totals)
        known = (losses > 0) & losses.isfinite()
        self.totals += torch.stack([torch.where(known, losses, 0), known.to(losses)])
        self.iterations += 1
        if self.iterations % self.interval == 0:
            sums, numbers = self.totals
            self.means.copy_(torch.stack([sums / numbers.clamp(min=1), self.means[0]]))
            self.totals.zero_()
