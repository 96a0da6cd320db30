"""What the tasks of one foreground class have in common."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..measures.threshold import counts_at_thresholds, f_measure
from .base import IGNORE, Task


class BinaryTask(Task):
    """Foreground (1) against background (0), 255 where ignored; predictions are probabilities.

    Trained by cross-entropy in which a foreground pixel weighs r and a background pixel 1 - r, a
    mean over pixels::

        loss = -mean(r g log p + (1 - r) (1 - g) log(1 - p))
    """

    interpolation = 'nearest'

    def positive_weight(self, label: Tensor, valid: Tensor) -> Tensor | float:
        """r, from labels and their validity, each (B, 1, H, W)."""
        raise NotImplementedError

    def check(self, label: np.ndarray) -> None:
        super().check(label)
        found = set(np.unique(label).tolist())
        if found == {0, IGNORE} or not found <= {0, 1, IGNORE}:
            raise ValueError(
                f'{self}: the label has values {sorted(found)[:10]}, expected 0 and 1, and '
                f'{IGNORE} if ignored; '
                'masks stored as 0 and 255 have to be read as 0 and 1.'
            )

    def valid(self, label: np.ndarray) -> np.ndarray:
        return label[..., 0] != IGNORE

    def pixel_loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        label = label.to(output.dtype)
        weight = self.positive_weight(label, valid)
        bce = F.binary_cross_entropy_with_logits(output, label, reduction='none')
        return (weight * label + (1 - weight) * (1 - label)) * bce

    def predict(self, output: Tensor) -> Tensor:
        return output.to(torch.promote_types(output.dtype, torch.float32)).sigmoid()

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        """Foreground inside and outside the target, each (255,), of the maps ``round(255 p) >= t``
        for t = 1..255."""
        target = label[0] == 1
        tp, fp = counts_at_thresholds(np.rint(255 * prediction[0]).astype(np.uint8), target)
        return dict(tp=tp[1:], fp=fp[1:], positives=target.sum())

    def f_curve(self, statistics: dict[str, np.ndarray], beta2: float) -> np.ndarray:
        """F-measure at each threshold, (255,), in percent."""
        return 100 * f_measure(statistics['tp'], statistics['fp'], statistics['positives'], beta2)

    def colour(self, value: np.ndarray, limits: None) -> np.ndarray:
        from matplotlib import colormaps  # takes long

        return 255 * colormaps['inferno'](value[0].clip(0, 1).astype(np.float64))[..., :3]
