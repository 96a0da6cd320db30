"""Surface normals."""

import numpy as np
import torch
from torch import Tensor

from ..registry import TASKS
from .base import Task

SHORTEST = 1e-6
"""Length below which an output has no direction."""


@TASKS.register_module()
class SurfaceNormals(Task):
    """Unit normals (x, y, z), x along the image's rows; the zero vector and NaN mark pixels
    without.

    Trained by ``1 - mean(p . g)`` of outputs p and labels g scaled to length 1. With the angle
    between p and g in degrees, ``mean`` and ``median`` are over pixels, the median from a histogram
    of bins of 0.01 degrees (72 kB an image), so right to 0.005; ``11.25``, ``22.5`` and ``30`` are
    the shares below. An output of length zero is 90 degrees off.

    Pictures show ``255 (n + 1) / 2`` as RGB. With x to the right, y up and z towards the camera,
    what faces the camera is light blue and floors are green. Labels of other signs of y and z train
    as well and merely have other colours.
    """

    channels = label_channels = 3
    better = dict(mean='lower', median='lower') | dict.fromkeys(('11.25', '22.5', '30'), 'higher')
    bins_per_degree = 100

    def check(self, label: np.ndarray) -> None:
        super().check(label)
        length = np.linalg.norm(label[self.valid(label)], axis=-1)
        if (np.abs(length - 1) > 0.1).any():
            raise ValueError(
                f'{self}: the label has vectors of length {length.min():.3g} to '
                f'{length.max():.3g}, expected 1 '
                '(0 for none): normals stored as images are read as 2 v / 255 - 1, then scaled to '
                'length 1.'
            )

    def valid(self, label: np.ndarray) -> np.ndarray:
        return np.isfinite(label).all(-1) & label.any(-1)

    def flip(self, label: np.ndarray) -> np.ndarray:
        return label * np.array([-1, 1, 1], label.dtype)

    def pixel_loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        unit = _directions(output)
        return 1 - (unit * _directions(label.to(unit.dtype))).sum(1, keepdim=True)

    def predict(self, output: Tensor) -> Tensor:
        return _directions(output)

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        p, g = (_unit(vectors.astype(np.float64)) for vectors in (prediction, label))
        angle = np.degrees(np.arccos(np.clip((p * g).sum(0), -1, 1)))
        bins = 180 * self.bins_per_degree
        histogram = np.bincount(
            np.minimum(self.bins_per_degree * angle, bins - 1).astype(int), minlength=bins
        )
        below = [(angle < bound).sum() for bound in (11.25, 22.5, 30)]
        return dict(angle=angle.sum(), below=np.array(below), histogram=histogram.astype(np.int32))

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float]:
        pixels = statistics['pixels']
        middle = np.array(
            [(pixels - 1) // 2, pixels // 2]
        )  # of an even number, the two in the middle
        bins = np.searchsorted(statistics['histogram'].cumsum(), middle, side='right')
        shares = dict(zip(('11.25', '22.5', '30'), 100 * statistics['below'] / pixels, strict=True))
        return dict(
            mean=statistics['angle'] / pixels,
            median=(bins.mean() + 0.5) / self.bins_per_degree,
            **shares,
        )

    def colour(self, value: np.ndarray, limits: None) -> np.ndarray:
        return (127.5 * (np.moveaxis(np.nan_to_num(value), 0, -1) + 1)).clip(0, 255)


def _directions(vectors: Tensor) -> Tensor:
    """(B, 3, H, W) scaled to length 1 in float32 or better. On a CPU a tenth of the time of
    ``F.normalize``."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return vectors * vectors.square().sum(1, keepdim=True).clamp_min(SHORTEST**2).rsqrt()


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(3, N) scaled to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=0)
    return vectors / np.where(length > 0, length, 1)
