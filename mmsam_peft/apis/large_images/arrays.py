"""Microscopy: TIFFs of scanners and OME-TIFF by tifffile, Zarr and OME-Zarr by zarr."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.pixels.stored import DTYPES, FEW_BANDS, Header
from .source import LargeImage, needed, require_pieces

WHITE_IS_ZERO = 0


class ArrayImage(LargeImage):
    """An array on the disk of which slices are read."""

    microscopy = True
    inverted = False

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
        self.band_axis = kinds[0] if kinds else None
        bands = shape[self.band_axis] if kinds else 1
        self.header = Header((shape['Y'], shape['X']), bands, dtype, False, None)

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int], bands: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        taken = {'Y': slice(*rows), 'X': slice(*columns), self.band_axis: slice(None)}
        values = np.asarray(self.array[tuple(taken.get(axis, 0) for axis in self.axes)])
        left = [axis for axis in self.axes if axis in taken]
        if self.band_axis is None:
            values, left = values[..., None], [*left, None]
        order = [left.index(axis) for axis in ('Y', 'X', self.band_axis)]
        values = values.transpose(order)[..., list(bands)].astype(self.header.dtype, copy=False)
        if self.inverted:
            values = np.iinfo(values.dtype).max - values
        return values, np.ones(values.shape[:2], bool)


class MicroscopeTiff(ArrayImage):
    """The first series of a TIFF at full size.

    Raises:
        ImportError: A package is not there.
        ValueError: Damaged, or not one picture.
    """

    def __init__(self, path: Path) -> None:
        tifffile, zarr = needed('tifffile'), needed('zarr')
        try:
            self.tiff = tifffile.TiffFile(path)
            series = self.tiff.series[0]
            array = zarr.open(series.aszarr(level=0), mode='r')
        except Exception as error:  # damaged files fail in many ways
            raise ValueError(
                f'{path}: tifffile cannot open it ({str(error)[:200]}): copy it again, or save '
                'it as an OME-TIFF'
            ) from error
        self.place(path, array, series.axes)
        self.inverted = series.keyframe.photometric == WHITE_IS_ZERO
        self.pixel_size = _ome_size(self.tiff) or _scanner_size(self.tiff)

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
            raise ValueError(f'{path}: zarr cannot open it ({str(error)[:200]})') from error
        if not isinstance(found, zarr.Array):
            array, axes = self._of_ome(path, found)
        elif found.ndim not in (2, 3):
            raise ValueError(f'{path}: got an array of {found.ndim} axes, expected 2 or 3')
        else:
            first = found.ndim == 3 and found.shape[0] <= FEW_BANDS < min(found.shape[1:])
            array, axes = found, 'CYX' if first else 'YXC'[: found.ndim]
        self.place(path, array, axes)

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
        if scale and units[names.index('X')] and units[names.index('X')] == units[names.index('Y')]:
            x, y = names.index('X'), names.index('Y')
            self.pixel_size = float(scale[x]), float(scale[y]), units[x]
        return array, names


def _scale(level: Mapping, number: int) -> list[float] | None:
    for step in level.get('coordinateTransformations', ()):
        if step.get('type') == 'scale' and len(step.get('scale', ())) == number:
            return step['scale']
    return None


def _ome_size(tiff: Any) -> tuple[float, float, str] | None:
    if not tiff.is_ome:
        return None
    image = needed('tifffile').xml2dict(tiff.ome_metadata)['OME']['Image']
    pixels = (image[0] if isinstance(image, list) else image)['Pixels']
    if 'PhysicalSizeX' not in pixels or 'PhysicalSizeY' not in pixels:
        return None
    unit = pixels.get('PhysicalSizeXUnit', 'µm')
    return float(pixels['PhysicalSizeX']), float(pixels['PhysicalSizeY']), unit


def _scanner_size(tiff: Any) -> tuple[float, float, str] | None:
    """Of Aperio's files, which say micrometres per pixel in their description."""
    for part in str(tiff.pages[0].description).split('|'):
        name, _, value = part.partition('=')
        if name.strip() == 'MPP':
            return float(value), float(value), 'µm'
    return None
