"""Large images, of which windows are read from the disk."""

from collections.abc import Callable, Sequence
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


class LargeImage:
    """An image on the disk.

    ``header`` is that of its colours: transparency and masks are among what ``read`` gives.
    """

    path: Path
    header: Header
    microscopy = False
    """Whether the result is to be an OME-TIFF."""
    pixel_size: tuple[tuple[float, str], tuple[float, str]] | None = None
    """Of microscopy: width and height with their units."""

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


def needed(name: str) -> ModuleType:
    """An optional package. ImportError with how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'large images need {name}, which is not there ({error}): {INSTALL} brings it'
        ) from error


def where_pieces_are(
    rows: tuple[int, int],
    columns: tuple[int, int],
    size: tuple[int, int],
    has: Callable[[int, int], bool],
) -> np.ndarray:
    """(h, w) bool of a window: where the file has its pieces, of ``size`` (h, w).

    Args:
        has: Whether it has the piece (i, j).
    """
    there = np.ones((rows[1] - rows[0], columns[1] - columns[0]), bool)
    height, width = size
    for i in range(rows[0] // height, (rows[1] - 1) // height + 1):
        for j in range(columns[0] // width, (columns[1] - 1) // width + 1):
            if not has(i, j):
                top, left = i * height - rows[0], j * width - columns[0]
                there[max(top, 0) : top + height, max(left, 0) : left + width] = False
    return there


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
