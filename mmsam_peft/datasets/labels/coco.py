"""COCO's JSON: polygons, run lengths as lists or text, crowd regions."""

import json
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from ..checks.problems import DatasetError
from .annotations import BACKGROUND, Object, ObjectAnnotations
from .image_list import ImageList, stated_size
from .shapes import Polygons, Runs, Shape
from .spans import SpanFile, json_parts


class Coco(ObjectAnnotations):
    """``images``, ``annotations`` and ``categories`` in one file. Crowd regions are ignored
    pixels."""

    format, title = 'coco', 'COCO JSON'
    ordered = False

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        self.file = SpanFile.of(self.path)
        images, categories, spans, outlines = [], [], defaultdict(list), 0
        for key, value, span in json_parts(self.path, ids_only='annotations'):
            if key == 'images':
                images.append(value)
            elif key == 'categories':
                categories.append(value)
            elif key == 'annotations':
                if 'segments_info' in value:
                    raise DatasetError(
                        f'{path}: got a panoptic JSON, whose masks are in PNGs, expected one of '
                        'objects (instances): export that'
                    )
                spans[value.get('image_id')].append(span)
                outlines += bool(value.get('segmentation'))
        if spans and not outlines:
            raise DatasetError(
                f'{path}: got COCO boxes or keypoints without outlines (segmentation), expected '
                'polygons or masks: export those'
            )
        self.names = {one['id']: str(one['name']) for one in categories}
        self.categories = tuple(
            dict.fromkeys(name for name in self.names.values() if name.lower() not in BACKGROUND)
        )
        for image in images:
            size = stated_size(image.get('height'), image.get('width'))
            places = np.array(spans.pop(image['id'], []), np.int64).reshape(-1, 2)
            self._add(str(image['file_name']), (size, places))
        if spans:
            self._note_orphans(spans, images)
        self._finish()

    def objects(self, image: str) -> tuple[tuple[int, int] | None, Iterable[Object]]:
        size, places = self.entries[image]
        stored = map(json.loads, self.file.read(*places.tolist()))
        return size, (
            Object(
                f'annotation {one.get("id")}',
                self.names.get(one.get('category_id'), f'category_id {one.get("category_id")}'),
                partial(_shape, one.get('segmentation')),
                crowd=bool(one.get('iscrowd')),
            )
            for one in stored
        )

    def _note_orphans(self, spans: dict[object, list], images: list[dict]) -> None:
        example, number = next(iter(spans)), sum(map(len, spans.values()))
        words = (
            f'{number} annotations in {self.path} are of no image in its list, such as {example!r}'
        )
        if not any(len(places) for _, places in self.entries.values()):
            given = images[0]['id'] if images else None
            raise DatasetError(f'{words}; ids of images are such as {given!r}: export it again')
        self.notes.append(words)


def _shape(segmentation: object, size: tuple[int, int]) -> Shape:
    if isinstance(segmentation, dict):
        return Runs(segmentation, size)
    if not segmentation:
        raise ValueError('got a box without an outline (segmentation), expected polygons or a mask')
    rings = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if any(len(ring) % 2 for ring in rings):
        raise ValueError('got a polygon with an odd number of coordinates')
    return Polygons([np.array(ring, float).reshape(-1, 2) for ring in rings], size)
