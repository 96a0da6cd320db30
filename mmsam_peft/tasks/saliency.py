"""Saliency."""

import numpy as np
from torch import Tensor

from ..registry import TASKS
from .base import masked_mean
from .binary import BinaryTask


@TASKS.register_module()
class Saliency(BinaryTask):
    """Foreground of any kind. Trained by cross-entropy balanced over the batch: r is the share of
    background among its pixels.

    ``maxF`` is the best F-measure (beta^2 = 0.3) over 255 thresholds of the map in 8 bits; with
    'per_image' that of the mean curve of the images, as in salient object detection. ``mIoU`` is
    the IoU of the foreground ``p >= 0.5``; nothing to find and nothing found is 100. Tables on
    PASCAL_MT have other numbers of these names: beta = 1, and the best IoU over 15 thresholds.
    """

    better = dict(maxF='higher', mIoU='higher')

    def positive_weight(self, label: Tensor, valid: Tensor) -> Tensor:
        return 1 - masked_mean(label, valid)

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float | np.ndarray]:
        half = 127  # index of threshold 128, of which the first is 1
        tp, union = statistics['tp'][half], statistics['positives'] + statistics['fp'][half]
        return dict(
            maxF=self.f_curve(statistics, beta2=0.3), mIoU=100 * tp / union if union else 100.0
        )
