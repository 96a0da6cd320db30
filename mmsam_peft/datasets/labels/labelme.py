"""LabelMe's JSON, one file for each image."""

import base64
import binascii
import io
import json
from collections.abc import Iterable
from functools import cached_property, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image

from ..files import composed
from .annotations import BACKGROUND, IGNORED, Object, ObjectAnnotations
from .image_list import ImageList, stated_size
from .label_files import files_of, lines_of, names_file
from .shapes import Grid, Polygons, Shape, ellipse, rectangle

THREADS = 4


class LabelMe(ObjectAnnotations):
    """Polygons, rectangles, circles and masks. Categories are in the order of ``labels.txt``, as
    given to LabelMe, or else of the alphabet. ``_background_`` erases what it covers,
    ``__ignore__`` does not count."""

    format, title = 'labelme', 'LabelMe JSON'

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        self.folder = self.path if self.path.is_dir() else self.path.parent
        files = files_of(self.path, '.json') if self.path.is_dir() else [self.path]
        for file in files:
            name = file.relative_to(self.folder).with_suffix('').as_posix()
            self._add(name, file, *self._own_name(name, file))
        self._finish()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        listed = names_file(self.folder, 'labels.txt', levels=2)
        if listed:
            names = lines_of(listed)
        else:
            with ThreadPool(THREADS) as pool:
                found = pool.imap_unordered(_labels, self.entries.values())
                names = sorted(set().union(*found))
        return tuple(name for name in names if name.lower() not in (*BACKGROUND, IGNORED))

    def _own_name(self, name: str, file: Path) -> list[str]:
        """The image's name in a file that is called otherwise; files are large, others stay
        unread."""
        try:
            if self.image_list.find(name):
                return []
            stored = _read(file)
        except ValueError:
            return []
        path = str(stored.get('imagePath') or '')
        return [f'{Path(name).parent.as_posix()}/{path}', path] if path else []

    def place(self, image: str) -> str:
        return str(self.entries[image])

    def files(self, image: str) -> list[str]:
        return [self.place(image)]

    def objects(self, image: str) -> tuple[tuple[int, int] | None, Iterable[Object]]:
        stored = _read(self.entries[image])
        meant = PureWindowsPath(composed(str(stored.get('imagePath') or '')))
        if meant.name and meant.stem.casefold() != composed(Path(image).stem).casefold():
            raise ValueError(f'got imagePath={meant.name}, expected {Path(image).name}')
        return stated_size(stored.get('imageHeight'), stored.get('imageWidth')), (
            Object(f'shape {number}', str(shape.get('label')), partial(_shape, shape))
            for number, shape in enumerate(stored['shapes'], start=1)
        )


def _read(path: Path) -> dict:
    try:
        stored = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'got no complete JSON ({error})') from None
    if not isinstance(stored, dict) or not isinstance(stored.get('shapes'), list):
        raise ValueError('got no LabelMe file, which has shapes')
    return stored


def _labels(path: Path) -> set[str]:
    try:
        return {str(shape.get('label')) for shape in _read(path)['shapes']}
    except ValueError:
        return set()  # its image's mask says what is wrong


def _shape(stored: dict, size: tuple[int, int]) -> Shape:
    kind, points = stored.get('shape_type') or 'polygon', np.array(stored.get('points'), float)
    if kind == 'polygon':
        return Polygons([points], size)
    if kind not in ('rectangle', 'circle', 'mask'):
        raise ValueError(f'got a {kind}, which has no area, expected a polygon or mask')
    if points.shape != (2, 2):
        raise ValueError(f'got a {kind} of {len(points)} points, expected 2')
    if kind == 'circle':
        radius = float(np.hypot(*(points[1] - points[0])))
        return Polygons([_inside(ellipse(points[0], (radius, radius)), size)], size)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    if kind == 'rectangle':
        return Polygons([rectangle(left, top, right, bottom)], size)
    return Grid(_decoded(stored.get('mask')), size, int(round(top)), int(round(left)))


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A circle may go beyond the edge, where its centre and the point on it may not."""
    return np.clip(points, 0, size[::-1])


def _decoded(text: object) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            return np.asarray(image) > 0
    except (TypeError, binascii.Error, OSError):
        raise ValueError('got a mask that is no PNG in base64') from None
