"""Image files as a viewer shows them: upright, all of their values; or an error that says why not.

Training, checks and prediction read images by ``read_image``, so that none of them sees another
picture than the others.
"""

import io
import re

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

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
SUBFILE, NO_PICTURE_OF_ITS_OWN = 254, 0b101
"""A TIFF page's tag, and its bits for smaller copies and masks of other pages."""


def read_image(content: bytes) -> np.ndarray:
    """A file's picture, BGR, uint8 (H, W, 3).

    Raises:
        ValueError: for what is no picture, is damaged, or would not come out as it is seen: more
            than 8 bits, transparency, several pages, bands other than grey and colours.
    """
    with open_image(content) as image:
        require_plain(image)
        image = upright(image)
        if image.has_transparency_data:
            image = image.convert('RGBA')
            hidden = int((np.asarray(image)[..., 3] < 255).sum())
            if hidden:
                raise ValueError(
                    f'got {hidden} transparent pixels, whose colour is not what one '
                    'sees, expected none: save the image without transparency (alpha), '
                    'over the background that belongs there'
                )
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def shown_size(content: bytes) -> tuple[int, int]:
    """(H, W) of a file's picture as it is shown, without decoding it. ValueError as ``read_image``,
    as far as that can tell."""
    with open_image(content) as image:
        require_plain(image)
        # Pillow gives a TIFF's size as shown, other formats' as stored.
        turned = image.format != 'TIFF' and orientation(image) in QUARTER_TURNS
        return image.size if turned else image.size[::-1]


def open_image(content: bytes) -> Image.Image:
    """The file as Pillow opens it, not yet decoded. ValueError if that is not possible, or if it
    has several pages."""
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        if not content:
            raise ValueError('got an empty file, expected an image: copy it again') from None
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
    if has_several_pages(image):
        raise ValueError(
            f'got a {image.format} of several pages or frames, expected one: save '
            'those you need as files of their own'
        )
    return image


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF data says."""
    image.load()
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


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


def require_plain(image: Image.Image) -> None:
    """Raises ValueError unless the file holds grey or colours of at most 8 bits; before it is
    decoded."""
    bits, one_band = bits_per_value(image), image.mode.startswith(('I', 'F'))
    if one_band and bits <= 8:
        bits = 32
    if bits > 8:
        found = ' from {} to {}'.format(*image.getextrema()) if one_band else ''
        raise ValueError(
            f'got {bits}-bit values{found}, expected 8 bits: convert all images alike, '
            'with one range of values that becomes 0 to 255'
        )
    if image.mode not in ('1', 'L', 'P', 'RGB', 'CMYK', 'YCbCr', 'LA', 'PA', 'RGBA'):
        raise ValueError(
            f'got bands {", ".join(image.getbands())}, expected grey or RGB: convert the image'
        )


def has_several_pages(image: Image.Image) -> bool:
    """Whether a file has more than one picture; a TIFF's smaller copies and a photo's previews do
    not count."""
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
