"""Image files as Pillow opens them: whether they are whole, which way is up, how many bits."""

import re
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from .foreign import refusal

EXIF_ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation."""
LOSSY = ('JPEG', 'MPO', 'JPEG2000', 'WEBP', 'AVIF')
"""Formats that change values a little."""
SUBFILE, SMALLER_COPY, MASK, NO_PICTURE_OF_ITS_OWN = 254, 0b001, 0b100, 0b101
"""A TIFF page's tag, and its bits for smaller copies and masks of other pages."""
MOST_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
"""Of one image; Pillow's limit, for every reader."""


def open_file(file: BinaryIO) -> Image.Image:
    """The file as Pillow opens it, not yet decoded.

    Raises:
        UnidentifiedImageError, SyntaxError: Pillow cannot open it, or one of its pages.
        ValueError: The file is empty, of a kind that is no picture, too large or damaged; it has
            several pages.
    """
    start = file.read(512)
    file.seek(0)
    if said := refusal(start):
        raise ValueError(said)
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        if not start:
            raise ValueError('got an empty file, expected an image: copy it again') from None
        raise
    except Image.DecompressionBombError:
        raise ValueError(too_large()) from None
    if has_several_pages(image):
        raise ValueError(
            f'got a {image.format} of several pages or frames, expected one: save '
            'those you need as files of their own; pages that are bands belong into one page'
        )
    if image.format == 'TIFF' and image.tag_v2.get(SUBFILE, 0) & SMALLER_COPY:
        raise ValueError(
            'got a TIFF that begins with a small copy of its picture, as raw files of cameras do: '
            'develop it, and export a TIFF or PNG'
        )
    return image


def too_large(size: str = 'an image') -> str:
    return (
        f'got {size} of more than {MOST_PIXELS / 1e6:.0f} million pixels, which is too large to '
        'read at once, or a file that is damaged: cut it into pieces, or predict it by '
        'tools/predict_large.py'
    )


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF data says."""
    image.load()
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def turned(pixels: np.ndarray, number: int | None) -> np.ndarray:
    """An array (H, W, ...) turned and mirrored as an EXIF orientation says."""
    if number in QUARTER_TURNS:
        pixels = pixels.swapaxes(0, 1)
    if number in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if number in (3, 4, 7, 8) else pixels


def orientation(image: Image.Image) -> int | None:
    """What the EXIF data says; None where it is damaged, with which viewers show an image as it is
    stored."""
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # each field has its own
        return None


def bits_per_value(image: Image.Image) -> int:
    """Looks at a file as it is stored, before it is decoded: Pillow reads 16-bit colours as 8, and
    scales grey of 2 and 4."""
    tiles = getattr(image, 'tile', None)
    arguments = tiles[0][3] if tiles else ''
    layout = arguments[0] if isinstance(arguments, tuple) else arguments
    bits = re.search(r';(\d+)', str(layout))
    return int(bits[1]) if bits else 8


def has_several_pages(image: Image.Image) -> bool:
    """Whether a file has more than one picture; a TIFF's smaller copies and a photo's previews do
    not count. SyntaxError where a TIFF has a page that Pillow cannot read, such as a mask."""
    pages = getattr(image, 'n_frames', 1)
    if pages == 1 or image.format == 'MPO':
        return False
    if image.format != 'TIFF':
        return True
    for page in range(1, pages):
        image.seek(page)
        if not image.tag_v2.get(SUBFILE, 0) & NO_PICTURE_OF_ITS_OWN:
            return True
    image.seek(0)
    return False


def is_mask(kind: int) -> bool:
    """Whether a page says which pixels of the whole picture are there."""
    return kind & NO_PICTURE_OF_ITS_OWN == MASK
