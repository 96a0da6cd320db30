"""What an image file holds: all bands with all of their values, upright.

Pillow reads what it reads without loss; OpenCV JPEGs, faster, and PNGs of 16-bit colours, tifffile
the other TIFFs, NumPy arrays.
"""

import io
from contextlib import nullcontext
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from . import jpeg, tiff
from .pillow import (
    MOST_PIXELS,
    QUARTER_TURNS,
    bits_per_value,
    open_file,
    orientation,
    too_large,
    turned,
    upright,
)

NUMPY = b'\x93NUMPY'
FEW_BANDS = 16
"""An array with at most so many rows, and more columns and bands, is taken for one with the bands
first."""
COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)
"""Of TIFFs, that every build of Pillow reads: none, fax, LZW, JPEG, deflate, PackBits."""
DTYPES = ('uint8', 'uint16', 'uint32', 'int8', 'int16', 'int32', 'float16', 'float32', 'float64')
BANDS = {'1': 1, 'L': 1, 'I': 1, 'F': 1, 'LA': 2, 'PA': 4, 'RGBA': 4, 'RGB': 3, 'P': 3}
BANDS |= {'CMYK': 3, 'YCbCr': 3}
"""Of what Pillow's modes become here."""


class Header(NamedTuple):
    """What is known of an image before it is decoded."""

    size: tuple[int, int]
    """(H, W), as shown."""
    bands: int
    """All of them, transparency included."""
    dtype: str
    alpha: bool
    """Whether the last band is transparency."""
    nodata: float | None
    """The value of pixels that have none, where the file names one."""


class Stored(NamedTuple):
    """A decoded image: values (H, W, bands) of a native type."""

    header: Header
    values: np.ndarray


def read_header(file: BinaryIO) -> Header:
    """Raises ValueError, as ``read_stored``, as far as the beginning of a file can tell."""
    return _read(file, decode=False).header


def read_stored(file: BinaryIO) -> Stored:
    """Raises ValueError for what is no picture, is damaged, has several pages, or bands that are
    neither grey, RGB nor plain numbers."""
    return _read(file, decode=True)


def _read(file: BinaryIO, decode: bool) -> Stored:
    start = file.read(8)
    file.seek(0)
    if start.startswith(NUMPY):
        return _from_numpy(file, decode)
    is_tiff = start.startswith(tiff.MAGIC)
    try:
        image = open_file(file)
    except (UnidentifiedImageError, SyntaxError):
        if not is_tiff:
            raise ValueError(
                'got no image of a known format, or its beginning is damaged: copy it '
                'again, or convert it'
            ) from None
        image = None
    with image or nullcontext():
        if is_tiff and not (image and _pillow_reads_all(image)):
            file.seek(0)
            return _from_tifffile(file, decode)
        return _from_pillow(image, file, decode)


def _pillow_reads_all(image: Image.Image) -> bool:
    """Whether Pillow gives all bands and bits of a TIFF as they are."""
    tags = image.tag_v2
    if tags.get(277, 1) > len(image.getbands()) or tags.get(259, 1) not in COMPRESSIONS:
        return False
    if image.mode == 'F' and tags.prefix != b'II':
        return False  # Pillow turns the bytes of compressed ones the wrong way round
    if image.mode in ('I;16', 'I;16B', 'F'):
        return tags.get(262) == tiff.BLACK_IS_ZERO and tags.get(258, (16,))[0] in (16, 32)
    return bits_per_value(image) <= 8 and image.mode[0] not in 'IF' and image.mode != 'RGBX'


def _from_pillow(image: Image.Image, file: BinaryIO, decode: bool) -> Stored:
    bits = bits_per_value(image)
    mode = 'I' if image.mode.startswith('I;16') else image.mode
    if mode not in BANDS:
        raise ValueError(
            f'got bands {", ".join(image.getbands())}, expected grey or RGB: convert the image'
        )
    height, width = image.size[::-1]
    # Pillow gives a TIFF's size as shown, other formats' as stored.
    if image.format != 'TIFF' and orientation(image) in QUARTER_TURNS:
        height, width = width, height
    dtype = {'I': 'int32', 'F': 'float32'}.get(image.mode, 'uint16' if bits > 8 else 'uint8')
    bands, alpha = BANDS[mode], image.has_transparency_data and mode not in ('I', 'F')
    if alpha and mode in ('1', 'L', 'P', 'RGB'):
        bands += 1
    if image.format == 'JPEG2000' and mode != 'I' and _is_deep_jpeg2000(file):
        raise ValueError('got a JPEG 2000 of more than 8 bits: convert it to TIFF')
    tags = image.tag_v2 if image.format == 'TIFF' else {}
    nodata = tiff.parse_nodata(tags.get(tiff.NODATA, ''))
    header = Header((height, width), bands, dtype, alpha, nodata)
    return Stored(header, _decoded(image, file, header) if decode else None)


def _decoded(image: Image.Image, file: BinaryIO, header: Header) -> np.ndarray:
    """(H, W, bands), as the header says."""
    if header.dtype == 'uint16' and image.format == 'PNG' and not image.mode.startswith('I'):
        return _deep_png(image, file, header)
    if image.format == 'JPEG':
        file.seek(0)
        if (values := jpeg.decode(image, file.read())) is not None:
            return turned(values, orientation(image))
    image = upright(image)
    if header.dtype == 'uint8':
        modes = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}
        image = image.convert(modes[header.bands])
    values = np.asarray(image)
    return values.astype(header.dtype, copy=False).reshape(*header.size, header.bands)


def _deep_png(image: Image.Image, file: BinaryIO, header: Header) -> np.ndarray:
    """A PNG of 16-bit colours, of which Pillow gives 8 bits."""
    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError('got a damaged PNG of 16 bits: copy it again')
    values = turned(values, orientation(image))
    order = {2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[header.bands]
    if max(order) >= values.shape[2]:
        raise ValueError('got a PNG of 16 bits with transparency: save it without')
    return values[..., order]


def _is_deep_jpeg2000(file: BinaryIO) -> bool:
    """By the depth of the first component, in the SIZ segment of the codestream."""
    file.seek(0)
    start = file.read(4096)
    at = start.find(b'\xff\x4f\xff\x51')
    return 0 <= at < len(start) - 43 and (start[at + 42] & 0x7F) + 1 > 8


def _from_tifffile(file: BinaryIO, decode: bool) -> Stored:
    with tiff.open_tiff(file) as (page, mask):
        size = page.imagelength, page.imagewidth
        if tiff.orientation_of(page) in QUARTER_TURNS:
            size = size[::-1]
        dtype = page.dtype.newbyteorder('=').name
        _require_numbers(dtype)
        masked = mask is not None
        header = Header(
            size,
            tiff.bands_of(page) + masked,
            dtype,
            masked or tiff.has_alpha(page),
            tiff.nodata_of(page),
        )
        if not decode:
            return Stored(header, None)
        values = tiff.decode(page).astype(dtype, copy=False)
        if masked:
            there = tiff.decode(mask)[..., :1] > 0
            values = np.concatenate([values, (there * opaque(values.dtype)).astype(dtype)], 2)
        return Stored(header, values)


def _from_numpy(file: BinaryIO, decode: bool) -> Stored:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except Exception as error:  # foreign bytes fail in many ways
        raise ValueError(f'got a damaged NPY ({str(error)[:100]}): write it again') from error
    require_picture_array(shape, dtype)
    file.seek(0)
    values = None
    if decode:
        try:
            values = np.load(io.BytesIO(file.read()), allow_pickle=False)
        except Exception as error:
            raise ValueError(f'got a damaged NPY ({str(error)[:100]}): write it again') from error
        values = values.astype(dtype.newbyteorder('='), copy=False).reshape(*shape[:2], -1)
    bands = shape[2] if len(shape) == 3 else 1
    return Stored(
        Header(tuple(shape[:2]), bands, dtype.newbyteorder('=').name, False, None), values
    )


def require_picture_array(shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises ValueError unless an array can be a picture, (H, W) or (H, W, bands) of numbers."""
    _require_numbers(dtype.newbyteorder('=').name)
    text = ' x '.join(map(str, shape))
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f'got an array of {text or "one number"}, expected height x width, or height x width x '
            'bands: one picture a file'
        )
    if len(shape) == 3 and shape[0] <= FEW_BANDS and shape[1] > FEW_BANDS < shape[2]:
        raise ValueError(
            f'got an array of {text}, which seems to have its bands first, expected height x width '
            'x bands: save numpy.moveaxis(array, 0, -1)'
        )
    if shape[0] * shape[1] > MOST_PIXELS:
        raise ValueError(too_large(f'an array of {text}'))


def _require_numbers(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(
            f'got values of type {dtype}, expected whole or floating-point numbers '
            f'({", ".join(DTYPES)}): convert them'
        )


def opaque(dtype: np.dtype) -> float:
    """The alpha of a pixel that one does not see through."""
    return 1 if dtype.kind == 'f' else np.iinfo(dtype).max


def kind_text(header: Header) -> str:
    """'16-bit whole numbers (uint16) in 4 bands'"""
    bits = np.dtype(header.dtype).itemsize * 8
    what = 'floating-point' if header.dtype.startswith('float') else 'whole'
    bands = header.bands - header.alpha
    return (
        f'{bits}-bit {what} numbers ({header.dtype}) in {bands} band{"s" * (bands != 1)}'
        f'{" and alpha" if header.alpha else ""}'
    )
