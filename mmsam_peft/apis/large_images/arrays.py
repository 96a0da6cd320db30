"""Microscopy: TIFFs of scanners and OME-TIFF by tifffile, Zarr and OME-Zarr by zarr."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.pixels import tiff
from ...datasets.pixels.stored import DTYPES, FEW_BANDS, Header
from .source import LargeImage, needed, require_pieces, where_pieces_are

PALETTE = 3


class ArrayImage(LargeImage):
    """An array on the disk of which slices are read. A chunk that is not there, as programs leave
    out those of zeros, is without values."""

    microscopy = True
    inverted = False
    colours: np.ndarray | None = None
    """(256, 3), uint8, of an array of numbers of colours."""
    alpha: int | None = None
    """The band of transparency."""

    def place(self, path: Path, array: Any, axes: str) -> None:
        """Takes an array whose axes are named by letters, as OME and tifffile do.

        Raises:
            ValueError: Several planes or times; no plain numbers; too large pieces.
        """
        shape, dtype = dict(zip(axes, array.shape, strict=True)), array.dtype.newbyteorder('=').name
        kinds = [one for one in axes if one not in 'YX' and shape[one] > 1]
        if 'Y' not in shape or 'X' not in shape or len(kinds) > 1 or set(kinds) - set('CS'):
            text = ' x '.join(f'{one}={size}' for one, size in shape.items())
            raise ValueError(
                f'{path}: got an array of {text}, expected one picture, Y x X, of one plane and '
                'one time, with its bands as C or S: save that which you need by itself'
            )
        if dtype not in DTYPES:
            raise ValueError(f'{path}: got values of type {dtype}, expected {", ".join(DTYPES)}')
        require_pieces(path, array.chunks, dtype)
        self.path, self.array, self.axes = path, array, axes
        self.pieces = dict(zip(axes, getattr(array, 'shards', None) or array.chunks, strict=True))
        self.band_axis = kinds[0] if kinds else None
        bands = shape[self.band_axis] if kinds else 1
        self.header = Header((shape['Y'], shape['X']), bands, dtype, False, None)

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int], bands: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        size = self.pieces['Y'], self.pieces['X']
        there = where_pieces_are(rows, columns, size, self._has)
        if not there.any():
            return None
        taken = {'Y': slice(*rows), 'X': slice(*columns), self.band_axis: slice(None)}
        values = np.asarray(self.array[tuple(taken.get(axis, 0) for axis in self.axes)])
        left = [axis for axis in self.axes if axis in taken]
        if self.band_axis is None:
            values, left = values[..., None], [*left, None]
        order = [left.index(axis) for axis in ('Y', 'X', self.band_axis)]
        values = values.transpose(order).astype(self.header.dtype, copy=False)
        if self.alpha is not None:
            there &= values[..., self.alpha] > 0
        if self.colours is not None:
            values = self.colours[values[..., 0]]
        values = values[..., list(bands)]
        if self.inverted:
            values = np.iinfo(values.dtype).max - values
        return values, there

    def _has(self, row: int, column: int) -> bool:
        """Whether the file has any band of a chunk."""
        raise NotImplementedError


class MicroscopeTiff(ArrayImage):
    """The largest picture of a TIFF, beside which scanners keep labels and smaller ones.

    Raises:
        ImportError: A package is not there.
        ValueError: Damaged, or not one picture.
    """

    def __init__(self, path: Path) -> None:
        tifffile, zarr = needed('tifffile'), needed('zarr')
        try:
            self.tiff = tifffile.TiffFile(path)
            several = sorted(self.tiff.series, key=_area, reverse=True)
            series, page = several[0], several[0].keyframe
            array = zarr.open(series.aszarr(level=0), mode='r')
        except Exception as error:  # damaged files fail in many ways
            raise ValueError(
                f'{path}: tifffile cannot open it ({str(error)[:200]}): copy it again, or save '
                'it as an OME-TIFF'
            ) from error
        same = sum(_area(one) == _area(series) for one in several)
        if same > 1:
            raise ValueError(
                f'{path}: got {same} pictures of one size in one file, expected one: save that '
                'which you need as a file of its own'
            )
        self.place(path, array, series.axes)
        self.counts = self._counts(series)
        self.inverted = page.photometric == tiff.WHITE_IS_ZERO
        header = self.header._replace(nodata=tiff.nodata_of(page))
        if page.photometric == PALETTE:
            if header.dtype != 'uint8' or header.bands != 1:
                raise ValueError(f'{path}: got numbers of colours of more than 8 bits: save RGB')
            self.colours = (page.colormap.T >> 8).astype(np.uint8)
            header = header._replace(bands=3, nodata=None)
        elif self.band_axis == 'S' and tiff.has_alpha(page):
            self.alpha = header.bands - 1
            header = header._replace(bands=self.alpha)
        self.header = header
        self.pixel_size = _ome_size(self.tiff) or _scanner_size(self.tiff)

    def _counts(self, series: Any) -> np.ndarray | None:
        """(rows, columns): the bytes of the tiles or strips of all bands; None where they are not
        those of the array."""
        grid = [-(-self.header.size[i] // self.pieces[axis]) for i, axis in enumerate('YX')]
        total = np.zeros(grid, np.int64)
        for page in series.pages:
            counts = np.asarray(page.databytecounts) if page is not None else np.zeros(grid)
            if counts.size % total.size:
                return None
            total += counts.reshape(-1, *grid).sum(0).astype(np.int64)
        return total

    def _has(self, row: int, column: int) -> bool:
        return self.counts is None or bool(self.counts[row, column])

    def close(self) -> None:
        self.tiff.close()


class ZarrImage(ArrayImage):
    """A Zarr array, (H, W), (H, W, bands) or (bands, H, W); or level 0 of an OME-Zarr image.

    Raises:
        ImportError: zarr is not there.
        ValueError: Neither; not one picture.
    """

    def __init__(self, path: Path) -> None:
        zarr = needed('zarr')
        try:
            found = zarr.open(str(path), mode='r')
        except Exception as error:  # foreign folders fail in many ways
            old = int(zarr.__version__.split('.')[0]) < 3 and (path / 'zarr.json').exists()
            needs = ': arrays of version 3 need zarr 3, and that Python 3.11' if old else ''
            raise ValueError(f'{path}: zarr cannot open it ({str(error)[:200]}){needs}') from error
        if not isinstance(found, zarr.Array):
            array, axes = self._of_ome(path, found)
        elif found.ndim not in (2, 3):
            raise ValueError(f'{path}: got an array of {found.ndim} axes, expected 2 or 3')
        else:
            first = found.ndim == 3 and found.shape[0] <= FEW_BANDS < min(found.shape[1:])
            array, axes = found, 'CYX' if first else 'YXC'[: found.ndim]
        self.place(path, array, axes)

    def _has(self, row: int, column: int) -> bool:
        numbers = []
        for axis, size, piece in zip(
            self.axes, self.array.shape, self.pieces.values(), strict=True
        ):
            given = {'Y': row, 'X': column}.get(axis)
            numbers.append(range(-(-size // piece)) if given is None else (given,))
        return any((self.path / _key(self.array, place)).exists() for place in product(*numbers))

    def _of_ome(self, path: Path, group: Any) -> tuple[Any, str]:
        attributes = dict(group.attrs)
        images = attributes.get('ome', attributes).get('multiscales')
        if not images:
            raise ValueError(
                f'{path}: got a Zarr group without an image (multiscales): give the image or array '
                f'in it, such as {path / next(iter(group.keys()), "0")}'
            )
        level = images[0]['datasets'][0]
        array = group[level['path']]
        axes = images[0].get('axes') or list('tczyx')[-array.ndim :]
        axes = [dict(name=axis) if isinstance(axis, str) else axis for axis in axes]
        names = ''.join(axis['name'].upper()[:1] for axis in axes)
        scale = _scale(level, len(axes))
        units = [axis.get('unit') for axis in axes]
        x, y = names.index('X'), names.index('Y')
        if scale and units[x] and units[y]:
            self.pixel_size = (float(scale[x]), units[x]), (float(scale[y]), units[y])
        return array, names


def _area(series: Any) -> int:
    sides = dict(zip(series.axes, series.shape, strict=True))
    return sides.get('Y', 0) * sides.get('X', 0)


def _key(array: Any, place: tuple[int, ...]) -> str:
    """The file of a chunk."""
    if hasattr(array, '_chunk_key'):  # zarr 2, for Python 3.10
        return array._chunk_key(place)
    return f'{array.path}/{array.metadata.encode_chunk_key(place)}'.lstrip('/')


def _scale(level: Mapping, number: int) -> list[float] | None:
    for step in level.get('coordinateTransformations', ()):
        if step.get('type') == 'scale' and len(step.get('scale', ())) == number:
            return step['scale']
    return None


def _ome_size(tiff: Any) -> tuple | None:
    if not tiff.is_ome:
        return None
    image = needed('tifffile').xml2dict(tiff.ome_metadata)['OME']['Image']
    images = image if isinstance(image, list) else [image]
    pixels = max((one['Pixels'] for one in images), key=lambda one: one['SizeX'] * one['SizeY'])
    if 'PhysicalSizeX' not in pixels or 'PhysicalSizeY' not in pixels:
        return None
    x, y = (
        (float(pixels[f'PhysicalSize{axis}']), pixels.get(f'PhysicalSize{axis}Unit', 'µm'))
        for axis in 'XY'
    )
    return x, y


def _scanner_size(tiff: Any) -> tuple | None:
    """Of Aperio's files, which say micrometres per pixel in their description."""
    for part in str(tiff.pages[0].description).split('|'):
        name, _, value = part.partition('=')
        if name.strip() == 'MPP':
            return ((float(value), 'µm'),) * 2
    return None
