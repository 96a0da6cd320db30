"""Structure loss of PraNet."""

import torch.nn.functional as F
from torch import Tensor

from ...registry import MODELS
from .binary import BinaryLoss, divide


@MODELS.register_module()
class StructureLoss(BinaryLoss):
    """Cross-entropy and IoU that stress pixels which differ from their surroundings, such as
    boundaries.

    With the mask g, probabilities p and sums over the pixels of an image::

        w    = 1 + 5 |avgpool31(g) - g|
        loss = sum(w BCE(p, g)) / sum(w)  +  1 - (sum(w p g) + 1) / (sum(w (p + g - p g)) + 1)

    The average counts what lies outside the image as background, and ignored pixels likewise:
    padding an image with ignored pixels changes nothing.

    Source: Fan et al., PraNet (MICCAI 2020, arXiv 2006.11392), loss function; the weights are those
    of Wei et al., F3Net (AAAI 2020, arXiv 1911.11445).

    Args:
        bce: 'weighted' is the definition. 'plain' leaves w out of the cross-entropy alone, as the
            programs of PraNet and of Conv-LoRA do by an outdated argument, with which their
            published numbers were made.
        loss_weight: Factor on the loss.

    Raises:
        ValueError: For another ``bce``.
    """

    loss_name = 'loss_structure'

    def __init__(self, bce: str = 'weighted', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if bce not in ('weighted', 'plain'):
            raise ValueError(f"bce={bce!r} of StructureLoss: expected 'weighted' or 'plain'.")
        self.bce = bce

    def per_image(self, logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        around = sums_of_31(sums_of_31(mask, 1), 2) / 31**2
        plain, weight = weight, weight * (1 + 5 * (around - mask).abs())
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduction='none')
        of_bce = weight if self.bce == 'weighted' else plain
        bce = divide((of_bce * bce).sum((1, 2)), of_bce.sum((1, 2)))
        probs = logits.sigmoid()
        intersection = (weight * probs * mask).sum((1, 2))
        union = (weight * (probs + mask)).sum((1, 2)) - intersection
        return bce + 1 - (intersection + 1) / (union + 1)


def sums_of_31(x: Tensor, axis: int) -> Tensor:
    """Sums of 31 neighbours along an axis of (B, H, W), zeros beyond the ends, as differences of
    running sums: a tenth of the time of pooling. Exact for small whole numbers."""
    size = x.shape[axis]
    padding = (0, 0, 16, 15) if axis == 1 else (16, 15)  # F.pad begins with the last axis
    running = F.pad(x, padding).cumsum(axis)
    return running.narrow(axis, 31, size) - running.narrow(axis, 0, size)
