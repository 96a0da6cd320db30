"""Polygons made of strips are those of the whole mask."""

import numpy as np
import pytest
import rasterio
from rasterio.features import shapes

from mmsam_peft.apis.large_images import joining

shapely = pytest.importorskip('shapely')


def of_the_whole(values: np.ndarray, without: tuple, least: int) -> list[tuple]:
    there = ~np.isin(values, without)
    found = shapes(values, mask=there, connectivity=4)
    found = [(int(value), shapely.geometry.shape(geometry)) for geometry, value in found]
    return sorted(comparable(*one) for one in found if one[1].area >= least)


def comparable(value: int, polygon) -> tuple[int, bytes]:
    return value, shapely.normalize(polygon).wkb


def test_strips_give_the_polygons_of_the_whole(tmp_path, monkeypatch):
    """Corner for corner, of noise with holes and areas that touch at corners, of one row a strip
    and of several; nothing is open after areas that ended."""
    rng, path = np.random.default_rng(0), tmp_path / 'a.tif'
    for trial in range(25):
        height, width = map(int, rng.integers(1, 40, 2))
        scale, number = int(rng.integers(1, 5)), int(rng.integers(2, 5))
        values = rng.integers(0, number, (height, width)).astype(np.uint8)
        values = values.repeat(scale, 0).repeat(scale, 1)[:height, :width]
        without, least = ((0, 255), 3) if trial % 2 else ((255,), 0)
        monkeypatch.setattr(joining, 'AT_ONCE', width * int(rng.integers(1, 5)))
        size = dict(count=1, height=height, width=width)
        with rasterio.open(path, 'w+', driver='GTiff', dtype='uint8', **size) as file:
            file.write(values, 1)
            found = list(joining.areas(file, without, least))
        expected = of_the_whole(values, without, least)
        assert sorted(comparable(one.value, one.polygon) for one in found) == expected
        assert all(one.pixels == one.polygon.area and one.polygon.is_valid for one in found)


def test_only_a_strip_is_polygonised_at_once(tmp_path, monkeypatch):
    """Of small areas none is kept longer than its strip."""
    path, seen = tmp_path / 'a.tif', []
    values = np.zeros((40, 60), np.uint8)
    values[::2, ::2] = 1
    monkeypatch.setattr(joining, 'AT_ONCE', 60 * 10)
    pieces = joining._pieces
    monkeypatch.setattr(
        joining, '_pieces', lambda values, *rest: seen.append(len(values)) or pieces(values, *rest)
    )
    with rasterio.open(
        path, 'w+', driver='GTiff', dtype='uint8', count=1, height=40, width=60
    ) as file:
        file.write(values, 1)
        found = joining.areas(file, (0,))
        assert next(found).pixels == 1 and seen == [10]
        assert len(list(found)) == 20 * 30 - 1 and seen == [10] * 4
