"""Inverse depth."""

import numpy as np

from ..registry import TASKS
from .depth import Depth


@TASKS.register_module()
class InverseDepth(Depth):
    """Inverse depth (disparity up to a factor), as in mtan's CityScapes; zero, NaN and infinity
    mark pixels without.

    Trained by, and evaluated with, absolute and relative errors of inverse depth itself, not of
    depth: as mtan and LibMTL do. Pictures show near bright, far dark.
    """

    better = dict(AErr='lower', RErr='lower')
    colours = 'viridis'
    unit = '1/depth'

    def zoom(self, label: np.ndarray, scale: float) -> np.ndarray:
        return label * label.dtype.type(scale)
