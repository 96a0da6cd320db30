"""Soft Dice and cross-entropy."""

import torch.nn.functional as F
from torch import Tensor

from ...registry import MODELS
from .binary import BinaryLoss, divide


@MODELS.register_module()
class DiceBCELoss(BinaryLoss):
    """Weighted sum of the soft Dice loss and the mean cross-entropy of an image.

    With the mask g, probabilities p and sums over the pixels of an image::

        loss = dice_weight * (1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)) + bce_weight *
        mean(BCE(p, g))

    Source: Milletari et al., V-Net (3DV 2016, arXiv 1606.04797), with plain for squared sums; the 1
    covers empty masks.

    Args:
        dice_weight: Factor on the Dice loss.
        bce_weight: Factor on the cross-entropy.
        loss_weight: Factor on their sum.
    """

    loss_name = 'loss_dice_bce'

    def __init__(
        self, dice_weight: float = 1.0, bce_weight: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight

    def per_image(self, logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        probs = logits.sigmoid()
        overlap = (weight * probs * mask).sum((1, 2))
        sizes = (weight * (probs + mask)).sum((1, 2))
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduction='none')
        bce = divide((weight * bce).sum((1, 2)), weight.sum((1, 2)))
        return self.dice_weight * (1 - (2 * overlap + 1) / (sizes + 1)) + self.bce_weight * bce
