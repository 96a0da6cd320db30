"""Soft Dice with squared sizes."""

from torch import Tensor

from ...registry import MODELS
from .binary import BinaryLoss


@MODELS.register_module()
class SquaredDiceLoss(BinaryLoss):
    """Soft Dice loss of an image, with the mask g, probabilities p and sums over its pixels::

        loss = 1 - (2 sum(p g) + 1) / (sum(p^2) + sum(g^2) + 1)

    Source: Milletari et al., V-Net (3DV 2016, arXiv 1606.04797); the 1 covers empty masks.
    """

    loss_name = 'loss_squared_dice'

    def per_image(self, logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        probs = logits.sigmoid()
        overlap = (weight * probs * mask).sum((1, 2))
        sizes = (weight * (probs**2 + mask**2)).sum((1, 2))
        return 1 - (2 * overlap + 1) / (sizes + 1)
