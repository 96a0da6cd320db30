"""Depth."""

import numpy as np
import torch
from torch import Tensor

from ..registry import TASKS
from .base import Task


@TASKS.register_module()
class Depth(Task):
    """Depth in metres; zero, NaN and infinity mark pixels without. Trained by the mean absolute
    error.

    With p predicted and g true, means over pixels::

        AErr = mean |p - g|   RErr = mean |p - g| / g   RMSE = sqrt(mean (p - g)^2)
        deltaK = share with max(p/g, g/p) < 1.25^K

    A prediction that is not positive is outside every delta. Pictures show near bright, far dark.
    """

    better = dict(
        AErr='lower', RErr='lower', RMSE='lower', delta1='higher', delta2='higher', delta3='higher'
    )
    main_metric = 'RErr'
    colours = 'viridis_r'
    """Matplotlib's colour map, from small to large values."""
    unit = 'm'

    def check(self, label: np.ndarray) -> None:
        super().check(label)
        if not np.issubdtype(label.dtype, np.floating):
            raise ValueError(
                f'{self}: the label has type {label.dtype}, expected floating point: files of '
                'whole numbers need '
                'their scale applied when they are read (millimetres / 1000).'
            )
        if (label < 0).any():
            raise ValueError(
                f'{self}: the label has negative values down to {np.nanmin(label):g}, expected '
                'positive ones, and '
                '0 or NaN where there is none.'
            )

    def valid(self, label: np.ndarray) -> np.ndarray:
        return np.isfinite(label[..., 0]) & (label[..., 0] > 0)

    def zoom(self, label: np.ndarray, scale: float) -> np.ndarray:
        return label / label.dtype.type(scale)

    def pixel_loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        return (output - label.to(output.dtype)).abs()

    def predict(self, output: Tensor) -> Tensor:
        return output.to(torch.promote_types(output.dtype, torch.float32))

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        p, g = prediction.astype(np.float64), label.astype(np.float64)
        error = np.abs(p - g)
        within = [((p < bound * g) & (g < bound * p)).sum() for bound in (1.25, 1.25**2, 1.25**3)]
        return dict(
            absolute=error.sum(),
            relative=(error / g).sum(),
            square=(error**2).sum(),
            within=np.array(within),
        )

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float]:
        mean = {key: value / statistics['pixels'] for key, value in statistics.items()}
        deltas = {f'delta{k}': 100 * share for k, share in enumerate(mean['within'], start=1)}
        return dict(
            AErr=mean['absolute'], RErr=mean['relative'], RMSE=np.sqrt(mean['square']), **deltas
        )

    def colour(self, value: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
        low, high = limits or (0, 1)
        share = (value[0] - low) / max(high - low, np.finfo(np.float32).tiny)
        from matplotlib import colormaps  # takes long

        return 255 * colormaps[self.colours](np.nan_to_num(share.clip(0, 1)))[..., :3]

    def limits(self, value: np.ndarray) -> tuple[float, float] | None:
        seen = value[0][self.valid(np.moveaxis(value, 0, -1))]
        return (float(seen.min()), float(seen.max())) if seen.size else None
