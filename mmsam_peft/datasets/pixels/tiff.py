"""TIFF files that Pillow does not read, or not with all of their values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from .pillow import MOST_PIXELS, NO_PICTURE_OF_ITS_OWN, is_mask, turned

MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
NODATA = 42113
"""GDAL's tag: the value of pixels that have none."""
ORIENTATION, DNG = 274, 50706
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
INSTALL = "pip install -e '.[tiff]'"


@contextmanager
def open_tiff(file: BinaryIO) -> Iterator[tuple[Any, Any | None]]:
    """The one picture of a TIFF as a page of tifffile's, not yet decoded, and the page that says
    which of its pixels are there, as GDAL writes one.

    Raises:
        ValueError: tifffile is not there; damaged; several pages; no grey, colours or bands.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            'got a TIFF that Pillow cannot read with all of its values (bands, 16-bit or '
            f'floating-point colours, compression): {INSTALL} brings what can'
        ) from None
    try:
        tiff = tifffile.TiffFile(file)
        pages = [page.aspage() for page in tiff.pages]
    except Exception as error:  # damaged files fail in many ways
        raise ValueError(f'got a damaged TIFF ({str(error)[:100]}): copy it again') from error
    with tiff:
        shown = [page for page in pages if not int(page.subfiletype) & NO_PICTURE_OF_ITS_OWN]
        if len(shown) != 1 or _is_stack(tiff, shown[0]):
            raise ValueError(
                f'got a TIFF of {len(shown) or "no"} pages, or a stack, expected one picture: save '
                'those you need as files of their own; pages that are bands belong into one page, '
                "such as by tifffile.imwrite(PATH, bands, photometric='minisblack', "
                "planarconfig='separate')"
            )
        _require_picture(shown[0])
        masks = [page for page in pages if is_mask(int(page.subfiletype))]
        yield shown[0], masks[0] if masks else None


def _is_stack(tiff: Any, page: Any) -> bool:
    """Whether a program such as ImageJ keeps several pictures behind one page."""
    series = tiff.series
    return bool(series) and int(np.prod(series[0].shape)) > int(np.prod(page.shape))


def _require_picture(page: Any) -> None:
    kind = int(page.photometric) if page.photometric is not None else BLACK_IS_ZERO
    if DNG in page.tags or kind in (32803, 34892):
        raise ValueError(
            'got a raw file of a camera, expected an image: develop it, and export a TIFF or PNG'
        )
    if kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or page.axes not in ('YX', 'YXS', 'SYX'):
        name = getattr(page.photometric, 'name', kind)
        raise ValueError(
            f'got a TIFF of kind {name} with axes {page.axes}, expected grey, RGB or bands: '
            'convert the image'
        )
    if page.dtype is None or kind == WHITE_IS_ZERO and page.dtype.kind != 'u':
        raise ValueError(
            f'got a TIFF of {page.dtype or "unknown"} values'
            f'{" in which white is zero" if page.dtype else ""}, expected whole or '
            'floating-point numbers in which black is: convert the image'
        )
    if page.imagelength * page.imagewidth > MOST_PIXELS:
        raise ValueError(
            f'got {page.imagewidth} x {page.imagelength} pixels, more than '
            f'{MOST_PIXELS / 1e6:.0f} million, which is too large to read at once: cut it into '
            'pieces'
        )


def bands_of(page: Any) -> int:
    return 1 if page.axes == 'YX' else page.shape[page.axes.index('S')]


def has_alpha(page: Any) -> bool:
    """Whether the last band is transparency."""
    extra = getattr(page, 'extrasamples', ())
    return bool(extra) and int(extra[-1]) in (1, 2)


def orientation_of(page: Any) -> int | None:
    tag = page.tags.get(ORIENTATION)
    return None if tag is None else int(tag.value)


def nodata_of(page: Any) -> float | None:
    tag = page.tags.get(NODATA)
    return None if tag is None else parse_nodata(tag.value)


def parse_nodata(text: str | bytes) -> float | None:
    """The number in GDAL's tag; None where it is empty. ValueError where it is none."""
    text = text.decode('latin-1') if isinstance(text, bytes) else str(text)
    text = text.strip(' \0')
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(
            f'got a GeoTIFF whose nodata tag is {text[:40]!r}, expected a number: correct the tag '
            '(gdal_edit.py -a_nodata)'
        ) from None


def decode(page: Any) -> np.ndarray:
    """(H, W, C), as stored, but upright, and black where the value is least."""
    try:
        pixels = page.asarray()
    except Exception as error:
        if 'imagecodecs' in str(error):
            raise ValueError(
                f'got a TIFF compressed by {getattr(page.compression, "name", page.compression)}: '
                f'{INSTALL} brings what can read it'
            ) from None
        raise ValueError(f'got a damaged TIFF ({str(error)[:100]}): copy it again') from error
    if page.axes == 'SYX':
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes == 'YX':
        pixels = pixels[..., None]
    if int(page.photometric or 0) == WHITE_IS_ZERO and page.photometric is not None:
        pixels = np.array(2**page.bitspersample - 1, pixels.dtype) - pixels
    return turned(pixels, orientation_of(page))
