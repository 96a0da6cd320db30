"""What the losses of a one-channel head share."""

import torch
from torch import Tensor, nn


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator`` for sums of the same non-negative weights: 0 / 0 is 0."""
    return numerator / (denominator + (denominator == 0))


class BinaryLoss(nn.Module):
    """Loss of a binary mask: computed per image in float32 (float64 logits stay float64), averaged
    over the images.

    Ignored pixels get weight 0; an image of nothing but ignored pixels does not count in the
    average, and a batch of such images gives a zero with a zero gradient. Nothing here waits for
    the device. Logits must be finite, also where ignored.

    Args:
        loss_weight: Factor on the loss.
    """

    loss_name: str

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        seg_logits: Tensor,
        seg_label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Scalar loss.

        Args:
            seg_logits: (B, 1, H, W).
            seg_label: (B, H, W) in {0, 1, ignore_index}.
            weight: (B, H, W), non-negative factors of the pixels, as of MMSegmentation's samplers.
            ignore_index: Label of pixels that take no part.

        Raises:
            ValueError: The shapes do not fit.
        """
        one_channel = seg_logits.dim() == 4 and seg_logits.shape[1] == 1
        if not one_channel or seg_logits.squeeze(1).shape != seg_label.shape:
            raise ValueError(
                f'{type(self).__name__} got logits {tuple(seg_logits.shape)} and labels '
                f'{tuple(seg_label.shape)}, expected '
                '(B, 1, H, W) and (B, H, W): use a head with one output channel and resize its '
                'logits to the labels'
            )
        logits = seg_logits.squeeze(1).to(torch.promote_types(seg_logits.dtype, torch.float32))
        mask = (seg_label == 1).to(logits.dtype)
        valid = (seg_label != ignore_index).to(logits.dtype)
        weight = valid if weight is None else valid * weight.to(logits.dtype)
        counted = (weight.sum((1, 2)) > 0).to(logits.dtype)
        losses = self.per_image(logits, mask, weight)
        return self.loss_weight * divide((losses * counted).sum(), counted.sum())

    def per_image(self, logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        """Losses (B,) of logits, masks in {0, 1} (0 where ignored) and weights (0 where ignored),
        each (B, H, W)."""
        raise NotImplementedError
