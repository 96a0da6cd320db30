"""CVAT's "CVAT for images 1.1": one XML file of polygons, ellipses and masks."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ..checks.problems import DatasetError
from .annotations import BACKGROUND, Object, ObjectAnnotations
from .image_list import ImageList
from .shapes import Grid, Polygons, Shape, ellipse
from .spans import SpanFile, element, xml_parts

NOT_DRAWN = ('tag', 'attribute')


class Cvat(ObjectAnnotations):
    """Objects lie over each other by their ``z_order``, then as in the file. Categories are in the
    order of the task's labels."""

    format, title = 'cvat', 'CVAT for images 1.1'

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        self.file = SpanFile.of(self.path)
        labels, spans = [], []
        for tag, span in xml_parts(self.path, 'label', 'image'):
            (labels if tag == 'label' else spans).append(span)
        if not spans:
            raise DatasetError(
                f'{path}: got CVAT XML without images, such as "CVAT for video", whose objects are '
                'tracks, expected "CVAT for images 1.1": export that'
            )
        names = [element(part, 'label').findtext('name', '') for part in self.file.read(*labels)]
        self.categories = tuple(
            dict.fromkeys(name for name in names if name.lower() not in BACKGROUND)
        )
        for span in spans:
            image = element(self.file.read(span)[0], 'image')
            name, subset = image.get('name', ''), image.get('subset')
            self._add(f'{subset}/{name}' if subset else name, span, name)
        self._finish()

    def objects(self, image: str) -> tuple[tuple[int, int], Iterable[Object]]:
        stored = element(self.file.read(self.entries[image])[0], 'image')
        shapes = [(number, one) for number, one in enumerate(stored, start=1)]
        shapes = [(number, one) for number, one in shapes if one.tag not in NOT_DRAWN]
        shapes.sort(key=lambda item: int(item[1].get('z_order', 0)))
        return (int(stored.get('height')), int(stored.get('width'))), (
            Object(f'{one.tag} {number}', one.get('label', ''), partial(_shape, one))
            for number, one in shapes
        )


def _shape(stored: Element, size: tuple[int, int]) -> Shape:
    if stored.tag == 'polygon':
        pairs = [pair.split(',') for pair in stored.get('points', '').split(';') if pair]
        return Polygons([np.array(pairs, float)], size)
    if stored.tag == 'ellipse':
        cx, cy, rx, ry, turn = (
            float(stored.get(key, 0)) for key in ('cx', 'cy', 'rx', 'ry', 'rotation')
        )
        points = np.clip(ellipse((cx, cy), (rx, ry), turn), 0, size[::-1])
        return Polygons([points], size)
    if stored.tag != 'mask':
        raise ValueError(f'got a {stored.tag}, which has no outline, expected a polygon or mask')
    left, top, width, height = (int(stored.get(key)) for key in ('left', 'top', 'width', 'height'))
    runs = np.array(stored.get('rle').split(','), np.int64)  # row by row, background first
    if (runs < 0).any() or runs.sum() != width * height:
        raise ValueError(f'got run lengths that do not fill {width} x {height} pixels')
    inside = np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(height, width)
    return Grid(inside, size, top, left)
