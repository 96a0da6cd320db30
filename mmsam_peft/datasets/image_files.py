"""Image files as a viewer shows them: upright, all of their values; or an error that says why not.

Training, checks and prediction read images by ``read_image``, so that none of them sees another
picture than the others.
"""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, UnidentifiedImageError

from .pixels.order import in_order
from .pixels.pillow import LOSSY, TURNS, bits_per_value, open_file, orientation, upright
from .pixels.setting import Pixels
from .pixels.stored import read_header, read_stored

__all__ = [
    'LOSSY',
    'TURNS',
    'as_picture',
    'bits_per_value',
    'open_image',
    'orientation',
    'read_image',
    'shown_size',
    'upright',
]


def read_image(content: bytes, pixels: Mapping | Pixels | None = None) -> np.ndarray:
    """A file's picture, BGR, uint8 (H, W, 3); or what ``pixels`` makes of it.

    Raises:
        ValueError: for what is no picture, is damaged, or would not come out as it is seen: several
            pages, transparency; bands, more than 8 bits and pixels without a value where ``pixels``
            does not say what they mean.
    """
    return Pixels.of(pixels).picture(read_stored(io.BytesIO(content)))


def shown_size(content: bytes, pixels: Mapping | Pixels | None = None) -> tuple[int, int]:
    """(H, W) of a file's picture as it is shown, without decoding it. ValueError as ``read_image``,
    as far as that can tell."""
    header = read_header(io.BytesIO(content))
    Pixels.of(pixels).require(header)
    return header.size


def open_image(content: bytes) -> Image.Image:
    """The file as Pillow opens it, not yet decoded. ValueError if that is not possible, or if it
    has several pages."""
    try:
        return open_file(io.BytesIO(content))
    except (UnidentifiedImageError, SyntaxError):
        if content[:4] in (b'II*\0', b'MM\0*'):
            raise ValueError(
                'got a TIFF with more than 4 bands, floating-point colours or an '
                'unknown compression, expected a grey or RGB one of 8 bits: convert '
                'it'
            ) from None
        raise ValueError(
            'got no image of a known format, or its beginning is damaged: copy it '
            'again, or convert it'
        ) from None


def as_picture(image: np.ndarray) -> np.ndarray:
    """What was read, (H, W, 3 or more), as people see it: RGB, uint8 (H, W, 3). Further bands are
    not shown."""
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.dstack([image] * 3)
    image = in_order(np.ascontiguousarray(image[..., :3]), [2, 1, 0])
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return image
