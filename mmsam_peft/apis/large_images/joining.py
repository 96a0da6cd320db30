"""Whole polygons of a raster that is never in memory: of strips, joined where they meet."""

from collections import defaultdict
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import numpy as np

AT_ONCE = 2**20
"""Pixels of a strip. GDAL holds all of its polygons, which may be nearly as many."""


class Area(NamedTuple):
    """Pixels of one value that touch along edges: a polygon of shapely, in pixels from the top
    left corner, and their number."""

    polygon: Any
    value: int
    pixels: int


def areas(file: Any, without: Container[int], least: int = 0) -> Iterator[Area]:
    """The areas of a raster of bytes that rasterio has open, those of whole rows of strips before
    those below: what GDAL makes of the whole raster at once, without its order.

    In memory are a strip and those areas that reach its lower edge.

    Args:
        without: Values that have no areas.
        least: Pixels below which an area is left out.
    """
    import shapely

    wanted = np.array([value not in without for value in range(256)])
    height = max(1, AT_ONCE // file.width)
    pieces: dict[int, Area] = {}
    groups = _Groups()
    edge = _Edge(np.zeros(file.width, np.uint8), np.full(file.width, -1))
    for top in range(0, file.height, height):
        end = min(top + height, file.height)
        values = file.read(1, window=((top, end), (0, file.width)))
        upper, lower = (_Edge(row, np.full(file.width, -1)) for row in (values[0], values[-1]))
        for piece in _pieces(values, wanted[values], top):
            number = groups.new()
            ring = shapely.get_coordinates(piece.polygon.exterior).astype(np.int64)
            reached = [one.mark(ring, y, number) for one, y in ((upper, top), (lower, end))]
            if any(reached):
                pieces[number] = piece
            elif piece.pixels >= least:
                yield piece
        groups.join(edge.numbers, upper.numbers, edge.values == upper.values)
        going_on = {groups.of(number) for number in np.unique(lower.numbers) if number >= 0}
        edge = lower if end < file.height else edge
        finished = defaultdict(list)
        for number in list(pieces):
            group = groups.of(number)
            if group not in going_on or end == file.height:
                finished[group].append(pieces.pop(number))
        for several in finished.values():
            pixels = sum(one.pixels for one in several)
            if pixels >= least:
                yield Area(_joined([one.polygon for one in several]), several[0].value, pixels)


class _Edge(NamedTuple):
    """A row of pixels where strips meet: their values, and the number of the piece of each."""

    values: np.ndarray
    numbers: np.ndarray

    def mark(self, ring: np.ndarray, y: int, number: int) -> bool:
        """Takes the pixels where a ring of (x, y) runs along the line ``y``; whether there are
        any."""
        along = (ring[:-1, 1] == y) & (ring[1:, 1] == y)
        for one, other in zip(ring[:-1][along, 0], ring[1:][along, 0], strict=True):
            self.numbers[min(one, other) : max(one, other)] = number
        return bool(along.any())


class _Groups:
    """Numbers that belong together."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}
        self.next = 0

    def new(self) -> int:
        self.next += 1
        return self.next - 1

    def of(self, number: int) -> int:
        while (parent := self.parents.get(number, number)) != number:
            self.parents[number] = self.parents.get(parent, parent)
            number = parent
        return number

    def join(self, above: np.ndarray, below: np.ndarray, where: np.ndarray) -> None:
        """Of two rows of numbers, those at the same place, where both are known."""
        where = where & (above >= 0) & (below >= 0)
        for one, other in np.unique(np.stack([above[where], below[where]]), axis=1).T.tolist():
            one, other = self.of(one), self.of(other)
            self.parents[max(one, other)] = min(one, other)


def _pieces(values: np.ndarray, there: np.ndarray, top: int) -> Iterator[Area]:
    from affine import Affine
    from rasterio.features import shapes
    from shapely.geometry import shape

    place = Affine.translation(0, top)
    for geometry, value in shapes(values, mask=there, connectivity=4, transform=place):
        polygon = shape(geometry)
        yield Area(polygon, int(value), round(polygon.area))


def _joined(polygons: list) -> Any:
    """One polygon of several that touch along edges, whose coordinates are whole numbers: no
    rounding."""
    import shapely

    if len(polygons) == 1:
        return polygons[0]
    whole = shapely.union_all(polygons)
    shell, *holes = (_corners(shapely.get_coordinates(one)) for one in shapely.get_rings(whole))
    return shapely.Polygon(shell, holes)


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the points where it goes straight on, as it does where pieces met."""
    points = ring[:-1]
    before, after = (points[:, 0] == np.roll(points[:, 0], step) for step in (1, -1))
    return points[before != after]
