"""Images of a data set as they are looked at."""

import os
from collections.abc import Mapping

import cv2
import numpy as np

from ..datasets.image_files import as_picture
from ..datasets.transforms.loading import LoadImageOrArray


def image_to_show(path: str | os.PathLike, pixels: Mapping | None = None) -> np.ndarray:
    """RGB, uint8 (H, W, 3), of a file that a training read with ``pixels``. OSError or ValueError
    for a file that is not there or no such image."""
    return as_picture(LoadImageOrArray(pixels=pixels).transform(dict(img_path=str(path)))['img'])


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To (height, width); averaged where it becomes smaller."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    smaller = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)
