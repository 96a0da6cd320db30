"""Class-balanced cross-entropy."""

import torch.nn.functional as F
from torch import Tensor

from ...registry import MODELS
from .binary import BinaryLoss, divide


@MODELS.register_module()
class BalancedBCELoss(BinaryLoss):
    """Cross-entropy in which foreground and background weigh the same in total, as the balanced
    error rate does.

    With r the share of foreground among the n valid pixels of an image::

        loss = -1 / n * sum((1 - r) g log p + r (1 - g) log(1 - p))

    An image of one class only has nothing to balance and gives 0, as in the source.

    Source: Xie and Tu, Holistically-Nested Edge Detection (ICCV 2015, arXiv 1504.06375), equation
    2, as a mean over pixels.
    """

    loss_name = 'loss_balanced_bce'

    def per_image(self, logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        total = weight.sum((1, 2))
        share = divide((weight * mask).sum((1, 2)), total)[:, None, None]
        balance = (1 - share) * mask + share * (1 - mask)
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduction='none')
        return divide((weight * balance * bce).sum((1, 2)), total)
