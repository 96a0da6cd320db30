"""Which program reads a large image."""

from pathlib import Path

from .arrays import MicroscopeTiff, ZarrImage
from .raster import Raster
from .source import LargeImage, needed

SCANNERS = ('.svs', '.ndpi', '.scn', '.bif', '.qptiff')
"""TIFFs of microscopes, by suffix."""


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
        return ZarrImage(path)
    if _is_of_a_microscope(path):
        return MicroscopeTiff(path)
    return Raster(path)


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
