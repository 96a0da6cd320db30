"""YOLO's text files of polygons, and the names of their classes."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import yaml

from ..checks.problems import DatasetError
from .annotations import BACKGROUND, Object, ObjectAnnotations
from .image_list import ImageList
from .label_files import files_of, lines_of, names_file
from .shapes import Polygons, Shape

LISTS = ('classes.txt', 'obj.names', 'obj_names.txt')
LOOKED_AT = 200
"""Files that show whether they hold boxes."""
SHARE = 2.0
"""Coordinates above are pixels, not shares of the sides."""


class Yolo(ObjectAnnotations):
    """A line for each object: the number of its class, then x and y of each point as shares of
    width and height. Names are in ``data.yaml`` or ``classes.txt``. A file without a line is an
    image without objects, an image without a file has no annotation."""

    format, title = 'yolo', 'YOLO polygons'
    ordered = False

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        folder = self.path if self.path.is_dir() else self.path.parent
        self.names = class_names(self.path)
        self.categories = tuple(name for name in self.names if name.lower() not in BACKGROUND)
        files = label_files(folder)
        refuse_boxes(files)
        for file in files:
            name = file.relative_to(folder).with_suffix('').as_posix()
            self._add('/'.join(part for part in name.split('/') if part != 'labels'), file)
        self._finish()

    def place(self, image: str) -> str:
        return str(self.entries[image])

    def files(self, image: str) -> list[str]:
        return [self.place(image)]

    def objects(self, image: str) -> tuple[None, Iterable[Object]]:
        lines = enumerate(self.entries[image].read_text('utf-8-sig').splitlines(), start=1)
        return None, (
            Object(f'line {number}', self._name(line), partial(_shape, line))
            for number, line in lines
            if line.strip()
        )

    def _name(self, line: str) -> str:
        number = line.split()[0]
        known = number.isdigit() and int(number) < len(self.names)
        return self.names[int(number)] if known else f'number {number}'


def class_names(path: Path) -> list[str]:
    """In the order of their numbers. DatasetError when no file says them."""
    folder = path if path.is_dir() else path.parent
    if path.suffix.lower() in ('.yaml', '.yml'):
        found = path
    else:
        found = names_file(folder, 'data.yaml', 'data.yml', 'dataset.yaml', *LISTS)
    if found is None:
        raise DatasetError(
            f'{path}: got YOLO labels without the names of their classes, expected a data.yaml or '
            'classes.txt beside them or one or two folders above: write one, a name a line'
        )
    if found.suffix == '.txt' or found.name in LISTS:
        return lines_of(found)
    stored = yaml.safe_load(found.read_text('utf-8-sig')) or {}
    if 'kpt_shape' in stored:
        raise DatasetError(f'{found}: got YOLO key points (kpt_shape), expected polygons')
    names = stored.get('names')
    if isinstance(names, dict):
        numbers = sorted(names, key=int)
        if [int(number) for number in numbers] != list(range(len(names))):
            raise DatasetError(f'{found}: got names with the numbers {numbers}, expected 0, 1, ...')
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not names:
        raise DatasetError(f'{found}: got no names of classes, expected names: [a, b, ...]')
    return [str(name) for name in names]


def label_files(folder: Path) -> list[Path]:
    """The text files below a folder that may be labels: where folders are called ``labels``, those
    in them alone."""
    files = [file for file in files_of(folder, '.txt') if file.name not in LISTS]
    inside = [file for file in files if 'labels' in file.relative_to(folder.parent).parts[:-1]]
    return inside or files


def refuse_boxes(files: list[Path]) -> None:
    """Raises DatasetError where the first files hold boxes, or no numbers."""
    lengths = set()
    for file in islice(files, LOOKED_AT):
        for line in file.read_text('utf-8-sig', errors='replace').splitlines():
            lengths |= {len(line.split())} if line.strip() else set()
    if lengths and lengths <= {5, 6}:
        raise DatasetError(
            f'{files[0].parent}: got YOLO boxes (5 numbers a line), expected polygons, which '
            'have 7 numbers a line at least: export segmentation labels'
        )


def _shape(line: str, size: tuple[int, int]) -> Shape:
    try:
        values = [float(value) for value in line.split()[1:]]
    except ValueError:
        raise ValueError('got text, expected numbers') from None
    if len(values) in (4, 5):
        raise ValueError('got a box, expected a polygon')
    if len(values) % 2:
        raise ValueError(f'got {len(values)} coordinates, an odd number')
    points = np.array(values).reshape(-1, 2)
    if points.size and np.abs(points).max() > SHARE:
        raise ValueError(
            f'got the coordinate {np.abs(points).max():g}, expected shares of width and height, 0 '
            'to 1'
        )
    return Polygons([points * size[::-1]], size)
