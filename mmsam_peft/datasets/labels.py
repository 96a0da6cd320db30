"""How labels of dense tasks are stored in files, and what they become when read."""
import numpy as np

DEPTH_UNIT = 0.001
"""Metres per step of a depth image, where nothing else is said."""


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Unit vectors (H, W, 3) as RGB of 8 bit, ``127.5 * (1 + n)``; the zero vector, no normal, becomes grey."""
    return np.rint(127.5 * (1 + normals)).astype(np.uint8)
