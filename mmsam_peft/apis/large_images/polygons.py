"""Polygons of a mask on the disk, whole ones, in the coordinates of the earth."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...whole_files import whole_file
from .joining import areas
from .network import NOTHING
from .source import needed

SUFFIXES = dict(geojson='.geojson', gpkg='.gpkg')
AT_A_TIME = 10000
DEGREES, EQUAL_AREA = 'EPSG:4326', 'EPSG:6933'


class Polygon:
    """A feature: pixels of one class that touch along edges.

    ``shape`` is shapely's polygon in the coordinates of the mask; ``pixels`` is its area in pixels.
    """

    def __init__(self, shape: Any, class_id: int, name: str, pixels: int):
        self.shape, self.class_id, self.name, self.pixels = shape, class_id, name, pixels

    @property
    def properties(self) -> dict:
        return {'class_id': self.class_id, 'class': self.name, 'area': self.pixels}


def require_polygons(kind: str, crs: Any, path: Path) -> None:
    """Looks, before hours of prediction, whether polygons can be written.

    Raises:
        ImportError: A package is not there.
        ValueError: An unknown kind; no coordinates for a GeoPackage.
    """
    if kind not in SUFFIXES:
        raise ValueError(f'polygons={kind!r}: expected {" or ".join(SUFFIXES)}.')
    needed('shapely')
    if kind == 'gpkg':
        needed('pyogrio')
        if crs is None:
            raise ValueError(
                f'{path}: a GeoPackage has coordinates of the earth, and this image has no '
                'coordinate reference system for its pixels. Take geojson, which then has pixels '
                'from the top left corner; or give the image its reference (rio edit-info --crs '
                'EPSG:... --transform ...); one with ground control points becomes one by rio warp.'
            )


def write_polygons(
    mask: Path,
    out: Path,
    kind: str,
    classes: Sequence[str],
    background: int | None,
    least: int = 0,
) -> int:
    """Writes the polygons of a mask, in GeoJSON by longitude and latitude (RFC 7946), or in pixels
    where the mask has no coordinates; in a GeoPackage in the mask's own. Returns their number.

    The mask is read in strips, and a polygon is one wherever it goes. In memory are those that
    reach the lower edge of a strip, and some thousand that are being written.

    Args:
        least: Pixels below which a polygon is left out.
    """
    rasterio = needed('rasterio')
    with rasterio.open(mask) as file:
        polygons = _polygons(file, classes, background, least)
        with whole_file(out) as unfinished:
            if kind == 'gpkg':
                return _write_package(polygons, file.crs, unfinished)
            return _write_geojson(polygons, file, unfinished)


def _polygons(
    file: Any, classes: Sequence[str], background: int | None, least: int
) -> Iterator[Polygon]:
    from shapely.affinity import affine_transform

    # Coordinates of nowhere are left as pixels, which are those of the image.
    matrix = None if file.crs is None else file.transform.to_shapely()
    for area in areas(file, without=(background, NOTHING), least=least):
        shape = affine_transform(area.polygon, matrix) if matrix else area.polygon
        known = area.value < len(classes)
        name = classes[area.value] if known else str(area.value)
        yield Polygon(shape, area.value, name, area.pixels)


def _square_metres(polygons: Sequence[Polygon], crs: Any) -> list[float]:
    """Areas on the earth. Those of a projection's own plane may be far off: four times too large in
    Web Mercator at 60 degrees."""
    from rasterio.warp import transform_geom
    from shapely.geometry import mapping, shape

    flat = transform_geom(crs, EQUAL_AREA, [mapping(one.shape) for one in polygons])
    return [shape(geometry).area for geometry in flat]


def _write_geojson(polygons: Iterator[Polygon], file: Any, path: Path) -> int:
    from rasterio.warp import transform_geom
    from shapely.geometry import mapping, shape
    from shapely.geometry.polygon import orient

    number = 0
    head = dict(type='FeatureCollection')
    if file.crs is None:
        head.update(width=file.width, height=file.height)
    with open(path, 'w', encoding='utf-8') as out:
        out.write(f'{json.dumps(head)[:-1]}, "features": [')
        while several := list(islice(polygons, AT_A_TIME)):
            shapes = [mapping(one.shape) for one in several]
            properties = [one.properties for one in several]
            if file.crs is not None:
                shapes = transform_geom(file.crs, DEGREES, shapes)
                for one, area in zip(properties, _square_metres(several, file.crs), strict=True):
                    one['area_m2'] = round(area, 2)
            for one, geometry in zip(properties, shapes, strict=True):
                geometry = mapping(orient(shape(geometry)))
                feature = dict(type='Feature', properties=one, geometry=geometry)
                out.write(f'{"," * bool(number)}\n{json.dumps(feature, ensure_ascii=False)}')
                number += 1
        out.write('\n]}\n')
    return number


def _write_package(polygons: Iterator[Polygon], crs: Any, path: Path) -> int:
    import shapely
    from pyogrio.errors import DataSourceError
    from pyogrio.raw import write

    made = path.with_name(f'{path.name}.gpkg')  # GDAL goes by the name
    number = 0
    try:
        while (several := list(islice(polygons, AT_A_TIME))) or not number:
            columns = {
                'class_id': np.array([one.class_id for one in several], np.int32),
                'class': np.array([one.name for one in several], object),
                'area': np.array([one.pixels for one in several], np.int64),
                'area_m2': np.array(_square_metres(several, crs), float),
            }
            write(
                made,
                np.array([shapely.to_wkb(one.shape) for one in several], object),
                list(columns.values()),
                list(columns),
                layer='polygons',
                driver='GPKG',
                geometry_type='Polygon',
                crs=crs.to_wkt(),
                append=number > 0,
            )
            number += len(several)
            if not several:
                break
        os.replace(made, path)
    except DataSourceError as error:  # such as a full disk
        raise OSError(str(error)) from error
    finally:
        made.unlink(missing_ok=True)
    return number
