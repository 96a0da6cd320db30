"""Images of a data set as they are looked at."""

import os

import numpy as np
from mmengine.dataset import BaseDataset

from .checks.dataset import inner_datasets
from .checks.loaders import loader_of
from .image_files import as_picture
from .transforms.loading import LoadImageFromFile, LoadImageOrArray


def picture_of(dataset: BaseDataset, path: str | os.PathLike) -> np.ndarray:
    """An image, RGB, uint8 (H, W, 3), as the data set's own pipeline reads it: the range of
    ``pixels`` becomes 0 to 255, the first three bands are shown.

    Raises:
        OSError, ValueError: It is not there, or cannot be read.
    """
    return as_picture(_reader(dataset).transform(dict(img_path=str(path)))['img'])


def read_as(dataset: BaseDataset) -> dict:
    """The ``pixels`` with which a data set's pipeline reads images; empty for 8 bits."""
    return _reader(dataset).pixels.setting()


def _reader(dataset: BaseDataset) -> LoadImageFromFile:
    part = next(inner_datasets(dataset))
    return loader_of(part, LoadImageOrArray, LoadImageFromFile)
