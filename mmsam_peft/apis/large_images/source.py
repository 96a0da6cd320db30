"""Large images, of which windows are read from the disk."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...datasets.pixels.stored import Header

INSTALL = "pip install -e '.[large]'"
MOST_OF_A_PIECE = 2**28
"""Bytes of a tile, strip or chunk: a file that is compressed as one piece cannot be read by
windows."""
SCANNERS = ('.svs', '.ndpi', '.scn', '.bif', '.qptiff')
"""TIFFs of microscopes, by suffix."""


class LargeImage:
    """An image on the disk.

    ``header`` is that of its colours: transparency and masks are among what ``read`` gives.
    """

    path: Path
    header: Header
    microscopy = False
    """Whether the result is to be an OME-TIFF."""
    pixel_size: tuple[float, float, str] | None = None
    """Of microscopy: width, height, unit."""

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int], bands: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Values (h, w, len(bands)) of a window, bands counted from 0, and where there are any,
        (h, w) bool; None where the file has nothing at all."""
        raise NotImplementedError

    def output(self) -> dict[str, Any]:
        """What a GeoTIFF of the image's size takes over, for ``rasterio.open``, and as ``tags`` its
        resolution."""
        return {}

    def close(self) -> None:
        """Closes the file."""


def open_large(path: str | Path) -> LargeImage:
    """A GeoTIFF or whatever else GDAL reads; a TIFF of a microscope; a Zarr array or OME-Zarr.

    Raises:
        FileNotFoundError: No such file.
        ImportError: A package that reads it is not there.
        ValueError: It cannot be read, or is not one picture.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no image {path}')
    if path.is_dir():
        if not any((path / name).is_file() for name in ('.zgroup', '.zarray', 'zarr.json')):
            raise ValueError(f'{path} is a folder, and no Zarr array: give the images themselves')
        from .arrays import ZarrImage

        return ZarrImage(path)
    if _is_of_a_microscope(path):
        from .arrays import MicroscopeTiff

        return MicroscopeTiff(path)
    from .raster import Raster

    return Raster(path)


def needed(name: str) -> ModuleType:
    """An optional package. ImportError with how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'large images need {name}, which is not there ({error}): {INSTALL} brings it'
        ) from error


def require_pieces(path: Path, shape: Sequence[int], dtype: str) -> None:
    """Raises ValueError where a file's tiles, strips or chunks, (h, w, ...), are too large."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size > MOST_OF_A_PIECE:
        raise ValueError(
            f'{path}: got pieces of {" x ".join(map(str, shape))} values, {size / 2**20:.0f} MiB, '
            f'each of which is decoded at once, expected {MOST_OF_A_PIECE / 2**20:.0f} MiB at '
            'most: rewrite the file in tiles, such as by rio convert IMAGE TILED.tif --co '
            'TILED=YES --co COMPRESS=DEFLATE --co BIGTIFF=IF_SAFER'
        )


def _is_of_a_microscope(path: Path) -> bool:
    if path.suffix.lower() in SCANNERS:
        return True
    if path.suffix.lower() not in ('.tif', '.tiff', '.btf', '.tf8'):
        return False
    with path.open('rb') as file:
        if file.read(4) not in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            return False
    if path.name.lower().endswith(('.ome.tif', '.ome.tiff', '.ome.btf', '.ome.tf8')):
        return True
    tifffile = needed('tifffile')
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.is_ome)
    except Exception:  # damaged files fail in many ways; GDAL says what of them
        return False
