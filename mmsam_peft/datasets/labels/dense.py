"""How labels of dense tasks are stored in files, and what they become when read."""

from functools import singledispatch
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from ...tasks import Task
from ...tasks.base import IGNORE
from ...tasks.binary import BinaryTask
from ...tasks.depth import Depth
from ...tasks.normals import SurfaceNormals
from ...tasks.semantic import SemanticSegmentation
from ..checks.problems import short
from ..image_files import LOSSY, bits_per_value, open_image, upright
from ..transforms.masks import DARK, require_known_levels

DEPTH_UNIT = 0.001
"""Metres per step of a depth image, where nothing else is said."""
SHORTEST_NORMAL, LONGEST_NORMAL = 0.1, 1.5
"""Stored normals of other lengths are none: grey is about (0, 0, 0), black is (-1, -1, -1)."""


def is_exact(task: Task) -> bool:
    """Whether a label's values mean what they say to the last bit: class numbers, and depth in
    whole steps."""
    return isinstance(task, SemanticSegmentation | Depth)


def read_array(path: str | Path, exact: bool = False) -> np.ndarray:
    """What a file holds: an image's pixels as they are stored, but upright as its EXIF data says,
    or the one array in a ``*.npy`` or ``*.mat`` file.

    Args:
        exact: refuse formats that change values a little, such as JPEG.

    Raises:
        ValueError: the file is not complete, or a ``*.mat`` file holds several variables.
    """
    suffix = Path(path).suffix.lower()
    if suffix == '.npy':
        return np.load(path)
    if suffix == '.mat':
        arrays = {name: value for name, value in loadmat(path).items() if not name.startswith('__')}
        if len(arrays) != 1:
            raise ValueError(f'got the variables {short(", ".join(arrays))}, expected one array')
        return arrays.popitem()[1]
    with open_image(Path(path).read_bytes()) as image:
        if exact and image.format in LOSSY:
            raise ValueError(
                f'got a {image.format}, whose compression changes values, expected a PNG: export '
                'the labels again'
            )
        bits = bits_per_value(image)
        pixels = np.asarray(upright(image))
        return (
            pixels // (255 // (2**bits - 1)) if bits in (2, 4) and image.mode == 'L' else pixels
        )  # Pillow stretches them


def channels_last(stored: np.ndarray, channels: int) -> np.ndarray:
    """(H, W), (H, W, c) or (c, H, W) to (H, W, c)."""
    if stored.ndim == 2 and channels == 1:
        return stored[..., None]
    if stored.ndim == 3 and stored.shape[2] == channels:
        return stored
    if stored.ndim == 3 and stored.shape[0] == channels:
        return stored.transpose(1, 2, 0)
    raise ValueError(
        f'got an array of {" x ".join(map(str, stored.shape))}, expected height x width x '
        f'{channels}'
    )


@singledispatch
def decode(task: Task, stored: np.ndarray, depth_unit: float = DEPTH_UNIT) -> np.ndarray:
    """The label (H, W, c) of a task from what its file holds. Kinds of tasks of your own:
    ``decode.register``.

    * class numbers: whole numbers, those below zero are ignored pixels (255);
    * depth and inverse depth: floating-point numbers are metres (or 1 / m), whole numbers steps of
      ``depth_unit``;
    * surface normals: floating-point vectors, or RGB of 8 bit, ``v / 127.5 - 1``; they are
      normalised;
    * saliency and edges: 0 and 1, or grey values of which those from 128 (of 255) are set.

    Raises:
        ValueError: for another shape, or values that cannot be such labels.
    """
    return channels_last(stored, task.label_channels).astype(np.float32)


@decode.register
def _(task: SemanticSegmentation, stored: np.ndarray, depth_unit: float = DEPTH_UNIT) -> np.ndarray:
    numbers = channels_last(stored, 1)
    if not (np.isfinite(numbers) & (numbers == np.rint(numbers))).all():
        raise ValueError('got fractions or NaN, expected class numbers')
    numbers = numbers.astype(np.int64)
    return np.where(numbers < 0, IGNORE, numbers)


@decode.register
def _(task: Depth, stored: np.ndarray, depth_unit: float = DEPTH_UNIT) -> np.ndarray:
    depth = channels_last(stored, 1)
    return (depth * (depth_unit if depth.dtype.kind in 'ui' else 1)).astype(np.float32)


@decode.register
def _(task: SurfaceNormals, stored: np.ndarray, depth_unit: float = DEPTH_UNIT) -> np.ndarray:
    vectors = channels_last(stored, 3)
    vectors = vectors / 127.5 - 1 if vectors.dtype == np.uint8 else vectors.astype(float)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = (length > SHORTEST_NORMAL) & (
        length < (LONGEST_NORMAL if stored.dtype == np.uint8 else np.inf)
    )
    return np.where(known, vectors / np.where(known, length, 1), 0).astype(np.float32)


@decode.register
def _(task: BinaryTask, stored: np.ndarray, depth_unit: float = DEPTH_UNIT) -> np.ndarray:
    grey = channels_last(stored, 1)
    if not (grey >= 0).all() or not (grey <= 255).all():
        raise ValueError(
            f'got values from {grey.min()} to {grey.max()}, expected 0 and 1, or grey values up to '
            '255'
        )
    if (grey == np.rint(grey)).all() and grey.max() > 1:
        require_known_levels(
            grey.astype(np.uint8), DARK, 'export all labels of the set as 0 and 255'
        )
    return (grey > 0.5 if grey.max() <= 1 else grey >= 128).astype(np.float32)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Unit vectors (H, W, 3) as RGB of 8 bit, ``127.5 * (1 + n)``; the zero vector, no normal,
    becomes grey."""
    return np.rint(127.5 * (1 + normals)).astype(np.uint8)
