"""GeoTIFF, COG, JPEG 2000, VRT and whatever else GDAL reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.pixels.stored import DTYPES, Header
from .source import LargeImage, needed, require_pieces, where_pieces_are

RESOLUTION = ('TIFFTAG_XRESOLUTION', 'TIFFTAG_YRESOLUTION', 'TIFFTAG_RESOLUTIONUNIT')
LEAST_CACHE, MOST_CACHE = 64, 512
"""Of decoded tiles, in MiB."""


class Raster(LargeImage):
    """By rasterio. A block that the file leaves out, as a sparse one does, is without values.

    Raises:
        ImportError: rasterio is not there.
        ValueError: GDAL cannot open the file; several pictures in one; no plain numbers; turned by
            its EXIF orientation.
    """

    def __init__(self, path: Path) -> None:
        rasterio = needed('rasterio')
        self.path = path
        try:
            self.file = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            raise ValueError(f'{path}: GDAL cannot open it ({error})') from error
        file = self.file
        if not file.count or len(file.subdatasets) > 1:
            raise ValueError(
                f'{path}: got {len(file.subdatasets)} pictures in one file, expected one: save '
                'that which you need as a file of its own'
            )
        interpretation = [one.name for one in file.colorinterp]
        colours = [i for i, name in enumerate(interpretation) if name != 'alpha']
        self.alpha = next((i for i, name in enumerate(interpretation) if name == 'alpha'), None)
        kinds = {file.dtypes[i] for i in colours}
        dtype = file.dtypes[colours[0]] if colours else None
        if len(kinds) != 1 or dtype not in DTYPES or self.alpha not in (None, file.count - 1):
            raise ValueError(
                f'{path}: got bands of {", ".join(file.dtypes)} ({", ".join(interpretation)}), '
                f'expected one type for all, of {", ".join(DTYPES)}, and transparency, if any, at '
                'the end'
            )
        self.table = _colours(file) if interpretation[0] == 'palette' else None
        self.inverted = file.tags(ns='IMAGE_STRUCTURE').get('MINISWHITE') == 'YES'
        self.masked = self.alpha is None and any(
            'per_dataset' in {flag.name for flag in flags} for flags in file.mask_flag_enums
        )
        bands = len(colours) if self.table is None else 3
        nodata = file.nodata if self.table is None else None
        self.header = Header(file.shape, bands, dtype, False, nodata)
        together = file.count if file.profile.get('interleave') == 'pixel' else 1
        require_pieces(path, (*file.block_shapes[0], together), dtype)
        self._require_upright()

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int], bands: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        there = self._blocks(rows, columns)
        if not there.any():
            return None
        window = (rows, columns)
        if self.table is not None:
            numbers = self.file.read(1, window=window)
            there &= (self.table[numbers, 3] > 0) & (numbers != self.file.nodata)
            return self.table[numbers][..., list(bands)], there
        values = np.moveaxis(self.file.read([band + 1 for band in bands], window=window), 0, -1)
        if self.inverted:
            values = np.iinfo(values.dtype).max - values
        if self.alpha is not None:
            there &= self.file.read(self.alpha + 1, window=window) > 0
        elif self.masked:
            there &= self.file.read_masks(1, window=window) > 0
        return values, there

    def _blocks(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """(h, w) bool: where the file has its blocks."""
        if self.file.driver not in ('GTiff', 'COG'):
            return np.ones((rows[1] - rows[0], columns[1] - columns[0]), bool)
        # Bands that lie apart have blocks of their own: one that is zero there may lack its.
        apart = self.file.profile.get('interleave') == 'band'
        planes = range(1, self.file.count + 1) if apart else [1]

        def has(i: int, j: int) -> bool:
            name = f'BLOCK_OFFSET_{j}_{i}'
            return any(self.file.get_tag_item(name, 'TIFF', bidx=band) for band in planes)

        return where_pieces_are(rows, columns, self.file.block_shapes[0], has)

    def output(self) -> dict[str, Any]:
        file, tags = self.file, self.file.tags()
        kept = {name: tags[name] for name in RESOLUTION if name in tags}
        gcps, crs = file.gcps
        if gcps:
            return dict(crs=crs, gcps=gcps, tags=kept)
        if file.crs is None and file.transform.is_identity:
            return dict(tags=kept)
        return dict(crs=file.crs, transform=file.transform, tags=kept)

    def cache(self, height: int) -> int:
        """MiB in which a row of windows that are ``height`` pixels high stays decoded, where that
        is possible."""
        row = height * self.file.width * self.file.count * np.dtype(self.header.dtype).itemsize
        return int(np.clip(1.3 * row / 2**20, LEAST_CACHE, MOST_CACHE))

    def close(self) -> None:
        self.file.close()

    def _require_upright(self) -> None:
        """A georeference is that of the pixels as they are stored; a photo is shown turned."""
        if self.file.crs is not None or self.file.gcps[0]:
            return
        number = self.file.tags().get('EXIF_Orientation') or self.file.tags(ns='EXIF').get(
            'EXIF_Orientation', 1
        )
        if self.file.driver == 'GTiff':
            with needed('tifffile').TiffFile(self.path) as tiff:
                tag = tiff.pages[0].tags.get(274)
                number = 1 if tag is None else tag.value
        if int(number) != 1:
            raise ValueError(
                f'{self.path}: got an image that is to be turned when it is shown (orientation '
                f'{int(number)}), of which windows cannot be read upright: save it upright'
            )


def _colours(file: Any) -> np.ndarray:
    """(256, 4), uint8: the colour of each number, and whether it is seen."""
    table = np.zeros((256, 4), np.uint8)
    for number, colour in file.colormap(1).items():
        if number < 256:
            table[number] = colour
    return table
