"""Masks as polygons along the edges of their pixels."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..whole_files import write_whole


def mask_polygons(mask: np.ndarray) -> Iterator[list[np.ndarray]]:
    """The polygons of a mask, an (H, W) bool: one for each set of pixels that touch along edges, as
    its outer ring and its holes, each (N, 2) int, x and y, closed.

    Pixel (row i, column j) is the square from (j, i) to (j + 1, i + 1): filling the polygons gives
    the mask back exactly. Outer rings have a positive area, holes a negative one.
    """
    number, labels, boxes, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    for label in range(1, number):
        x, y, width, height, _ = boxes[label].tolist()
        own = (labels[y : y + height, x : x + width] == label).astype(np.uint8)
        # OpenCV's contours run through the centres of pixels. In a picture of twice the size they
        # run through the centres of quarters, of which (2j, 2j + 1) belong to the edges j, j + 1.
        twice = own.repeat(2, 0).repeat(2, 1)
        contours, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        rings = [_ring((contour[:, 0] + 1) // 2 + (x, y)) for contour in contours]
        rings.sort(key=lambda ring: -abs(ring_area(ring)))
        outer, *holes = rings
        yield [_turned(outer, 1), *(_turned(hole, -1) for hole in holes)]


def ring_area(ring: np.ndarray) -> float:
    """The signed area of a closed ring, in pixels."""
    x, y = ring.T.astype(np.int64)
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


def _ring(points: np.ndarray) -> np.ndarray:
    """The corners of a ring, closed."""
    points = points[(points != np.roll(points, 1, 0)).any(1)]
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    corners = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return np.concatenate([corners, corners[:1]])


def _turned(ring: np.ndarray, sign: int) -> np.ndarray:
    return ring if ring_area(ring) * sign > 0 else ring[::-1]


def write_polygons(
    mask: np.ndarray, classes: Sequence[str] | None, background: int | None, path: Path
) -> None:
    """Writes the polygons of class numbers (H, W) as GeoJSON: a feature for each polygon, with
    ``class_id``, ``class`` and ``area`` in pixels, in pixel coordinates from the image's top left
    corner, x to the right and y down. The picture's ``width`` and ``height`` stand beside them."""
    features = []
    for number in np.unique(mask).tolist():
        if number == background:
            continue
        name = classes[number] if classes and number < len(classes) else None
        for rings in mask_polygons(mask == number):
            features.append(
                dict(
                    type='Feature',
                    properties={
                        'class_id': number,
                        'class': name,
                        'area': round(sum(map(ring_area, rings))),
                    },
                    geometry=dict(type='Polygon', coordinates=[ring.tolist() for ring in rings]),
                )
            )
    height, width = mask.shape
    content = dict(type='FeatureCollection', width=width, height=height, features=features)
    write_whole(path, json.dumps(content).encode())
