"""Edges."""

import numpy as np
from torch import Tensor

from ..registry import TASKS
from .binary import BinaryTask

WEIGHT = 0.95
"""Weight of an edge pixel in the loss; any other has 0.05."""


@TASKS.register_module()
class Edges(BinaryTask):
    """Contours one pixel wide. Trained by cross-entropy with the fixed weight r = 0.95 of edges, as
    in PASCAL_MT and ASTMT.

    ``loss`` is that loss of the evaluated pixels, of probabilities kept 1e-7 from 0 and 1.
    ``maxF_tolerance0`` is the best F-measure (beta^2 = 1) over 255 thresholds of the map in 8 bits,
    pixel on pixel, without thinning; with 'per_image' that of the mean curve. An edge predicted one
    pixel off counts as wrong twice, so this ranks models but is far below the published ``odsF``,
    which matches edges within a distance and needs the programs of BSDS: save the predictions and
    run those.
    """

    better = dict(loss='lower', maxF_tolerance0='higher')

    def positive_weight(self, label: Tensor, valid: Tensor) -> float:
        return WEIGHT

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        p, edge = prediction.astype(np.float64).clip(1e-7, 1 - 1e-7), label == 1
        loss = -WEIGHT * np.log(p[edge]).sum() - (1 - WEIGHT) * np.log1p(-p[~edge]).sum()
        return dict(loss=loss, **super().count(prediction, label))

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float | np.ndarray]:
        return dict(
            loss=statistics['loss'] / statistics['pixels'],
            maxF_tolerance0=self.f_curve(statistics, beta2=1),
        )
