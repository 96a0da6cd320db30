"""Masks as files: GeoTIFF with the image's georeference, OME-TIFF for microscopy."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...version import __version__
from ...whole_files import whole_file
from .network import NOTHING, Network
from .source import LargeImage, needed
from .strips import Strips

TILE = 512
OF_CLASSIC_TIFF = 2**32 - 2**25
"""Bytes that a TIFF with 32-bit addresses can hold."""
SOFTWARE = 'TIFFTAG_SOFTWARE'


def write_mask(
    strips: Strips, image: LargeImage, network: Network, path: Path, made_by: str, cog: bool
) -> None:
    """Writes the rows of ``strips`` as a tiled, compressed TIFF, reads it back and compares.

    Args:
        made_by: Is written into the file, for ``made_by_of``.
        cog: Make it a Cloud Optimized GeoTIFF, with overviews.

    Raises:
        OSError: It could not be written, or is not what was written.
    """
    rasterio = needed('rasterio')
    with whole_file(path) as unfinished:
        write = _write_ome if image.microscopy else _write_geotiff
        first = unfinished.with_name(f'{unfinished.name}.tif') if cog else unfinished
        try:
            write(strips, image, network, first, f'mmsam_peft {__version__} {made_by}')
            if cog:
                _write_cog(first, unfinished)
        except rasterio.errors.RasterioError as error:  # such as a full disk
            raise OSError(str(error.__cause__ or error)) from error
        finally:
            if cog:
                first.unlink(missing_ok=True)
        _require_same(strips, unfinished)


def made_by_of(path: Path) -> str | None:
    """What ``write_mask`` was told of a mask; None where it is no mask of ours."""
    rasterio = needed('rasterio')
    try:
        with rasterio.open(path) as file:
            words = file.tags().get(SOFTWARE, '').split()
    except rasterio.errors.RasterioIOError:
        return None
    return words[2] if len(words) == 3 and words[0] == 'mmsam_peft' else None


def _write_geotiff(
    strips: Strips, image: LargeImage, network: Network, path: Path, software: str
) -> None:
    import rasterio
    from rasterio.windows import Window

    height, width = image.header.size
    profile = image.output()
    tags = profile.pop('tags', {})
    with rasterio.open(
        path,
        'w',
        driver='GTiff',
        height=height,
        width=width,
        count=1,
        dtype='uint8',
        nodata=NOTHING,
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        compress='deflate',
        bigtiff='IF_SAFER',
        sparse_ok=True,
        **profile,
    ) as file:
        colours = {i: (*colour, 255) for i, colour in enumerate(network.palette)}
        file.write_colormap(1, {**colours, NOTHING: (0, 0, 0, 0)})
        file.update_tags(**tags, **{SOFTWARE: software}, CLASSES=json.dumps(network.classes))
        file.set_band_description(1, network.task.name if network.task else 'class')
        top = 0
        for rows in strips.read(TILE):
            file.write(rows, 1, window=Window(0, top, width, len(rows)))
            top += len(rows)


def _write_cog(path: Path, out: Path) -> None:
    from rasterio.shutil import copy

    copy(
        path,
        out,
        driver='COG',
        compress='deflate',
        blocksize=TILE,
        bigtiff='IF_SAFER',
        overview_resampling='nearest',
    )


def _write_ome(
    strips: Strips, image: LargeImage, network: Network, path: Path, software: str
) -> None:
    tifffile = needed('tifffile')
    height, width = image.header.size
    table = np.zeros((3, 256), np.uint16)
    for number, colour in enumerate(network.palette):
        table[:, number] = np.array(colour, np.uint16) * 257
    about: dict[str, Any] = dict(
        axes='YX', Name='classes', Description=json.dumps(dict(classes=network.classes))
    )
    if image.pixel_size:
        for axis, (size, unit) in zip('XY', image.pixel_size, strict=True):
            about[f'PhysicalSize{axis}'] = size
            about[f'PhysicalSize{axis}Unit'] = _symbol(unit)
    with tifffile.TiffWriter(path, bigtiff=height * width > OF_CLASSIC_TIFF, ome=True) as file:
        file.write(
            _tiles(strips, width),
            shape=(height, width),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric='palette',
            colormap=table,
            compression='zlib',
            software=software,
            metadata=about,
        )


def _tiles(strips: Strips, width: int) -> Iterator[np.ndarray]:
    for rows in strips.read(TILE):
        for left in range(0, width, TILE):
            yield np.ascontiguousarray(rows[:, left : left + TILE])


def _symbol(unit: str) -> str:
    """OME-XML has symbols where OME-Zarr has names."""
    return dict(micrometer='µm', nanometer='nm', millimeter='mm', meter='m').get(unit, unit)


def _require_same(strips: Strips, path: Path) -> None:
    """Some errors of a disk, GDAL reports nowhere."""
    import rasterio
    from rasterio.windows import Window

    top = 0
    try:
        with rasterio.open(path) as file:
            for rows in strips.read(TILE):
                found = file.read(1, window=Window(0, top, file.width, len(rows)))
                if not np.array_equal(found, rows):
                    raise OSError(f'the rows from {top} on differ from what was written')
                top += len(rows)
    except rasterio.errors.RasterioError as error:
        raise OSError(f'it cannot be read back ({error})') from error
