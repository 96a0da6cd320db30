"""Label Studio's JSON and JSON-MIN, and its PNGs where the JSON lies beside them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..checks.problems import DatasetError
from .annotations import BACKGROUND, Object, ObjectAnnotations
from .brush import decode_brush
from .image_list import ImageList, address_as_path, stated_size
from .shapes import Grid, Polygons, Shape, ellipse, rectangle, turned
from .spans import SpanFile, json_parts

UPLOAD = re.compile(r'^[0-9a-f]{8}-')
"""What Label Studio puts before the name of an uploaded file."""
PNG = re.compile(r'task-(\d+)-annotation-(\d+)-by-[\w@.]*-(.+)-(\d+)\.png', re.IGNORECASE)
"""The numbers of a task and an annotation, tool and label, a number."""
LABELS = (
    'brushlabels',
    'polygonlabels',
    'rectanglelabels',
    'ellipselabels',
    'keypointlabels',
    'labels',
)


class LabelStudio(ObjectAnnotations):
    """Brushes, polygons, rectangles and ellipses, later ones over earlier ones. The file has no
    list of categories: they are in the order of the alphabet."""

    format, title = 'label-studio', 'Label Studio JSON'

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        self.file = SpanFile.of(self.path)
        self.tasks: dict[str, str] = {}
        names, unlabelled = set(), 0
        for _, task, span in json_parts(self.path):
            results = _results(task)
            if results is None:
                unlabelled += 1
                continue
            try:
                names.update(_label(result) for result in results if _is_region(result))
            except ValueError:
                pass  # the image's mask says what is wrong
            address = address_as_path(_address(task))
            folder, _, name = address.rpartition('/')
            self._add(address, span, f'{folder}/{UPLOAD.sub("", name)}')
        self.categories = tuple(sorted(name for name in names if name.lower() not in BACKGROUND))
        if unlabelled:
            self.notes.append(f'{unlabelled} tasks of {path} have no annotation and are left out')
        self._finish()

    def objects(self, image: str) -> tuple[tuple[int, int] | None, Iterable[Object]]:
        task = json.loads(self.file.read(self.entries[image])[0])
        results = [result for result in _results(task) or () if _is_region(result)]
        sizes = {(one.get('original_height'), one.get('original_width')) for one in results}
        return stated_size(*sizes.pop()) if len(sizes) == 1 else None, (
            Object(f'region {number}', _label(result), partial(_shape, result))
            for number, result in enumerate(results, start=1)
        )


class LabelStudioPngs(ObjectAnnotations):
    """A PNG for each label of each task, ``task-1-annotation-2-by-3-tag-road-0.png``. They do not
    say which image a task is: the JSON export of the project, in the same folder, does."""

    format, title = 'label-studio-png', 'Label Studio PNGs'

    def __init__(self, path: Path, image_list: ImageList) -> None:
        super().__init__(path, image_list)
        exports = [file for file in self.path.glob('*.json') if _is_export(file)]
        if len(exports) != 1:
            raise DatasetError(
                f'{path}: got the PNGs of Label Studio and {len(exports)} JSON exports, expected '
                'one: the PNGs name tasks, and the JSON says which images they are. Export JSON '
                'too, and put it beside them, or use the JSON alone'
            )
        tasks = [task for _, task, _ in json_parts(exports[0])]
        tools = {'tag'} | {
            one.get('from_name', '') for task in tasks for one in _results(task) or ()
        }
        masks, names = defaultdict(list), set()
        for file in sorted(self.path.iterdir()):
            if match := PNG.fullmatch(file.name):
                task, annotation, name, number = match.groups()
                name = next(
                    (
                        name.removeprefix(f'{tool}-')
                        for tool in tools
                        if name.startswith(f'{tool}-')
                    ),
                    name,
                )
                masks[task].append((int(annotation), int(number), name, file))
                names.add(name)
        self.categories = tuple(sorted(name for name in names if name.lower() not in BACKGROUND))
        for task in tasks:
            address = address_as_path(_address(task))
            folder, _, name = address.rpartition('/')
            if found := masks.pop(str(task.get('id')), None):
                self._add(address, sorted(found), f'{folder}/{UPLOAD.sub("", name)}')
        for task in masks:
            self.notes.append(f'the PNGs of task {task} are of no task in {exports[0]}')
        self._finish()

    def files(self, image: str) -> list[str]:
        return [str(file) for *_, file in self.entries[image]]

    def objects(self, image: str) -> tuple[None, Iterable[Object]]:
        found = self.entries[image]
        if len({annotation for annotation, *_ in found}) > 1:
            raise ValueError('got several annotations of one task, expected one: delete the others')
        return None, (Object(file.name, name, partial(_png, file)) for _, _, name, file in found)


def is_label_studio(task: object) -> bool:
    """Whether an entry of a list is a task."""
    return isinstance(task, dict) and 'id' in task and ('annotations' in task or 'image' in task)


def _is_export(file: Path) -> bool:
    try:
        key, task, _ = next(json_parts(file))
    except (ValueError, StopIteration):
        return False
    return key == '' and is_label_studio(task)


def _address(task: dict) -> str:
    """Of the image: the first text in ``data`` that is called so, or the only one."""
    data = task.get('data', task)
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    return texts.get('image') or texts.get('img') or next(iter(texts.values()), '')


def _results(task: dict) -> list[dict] | None:
    """The regions of a task; None when nobody has annotated it, or said that they skip it.

    Of several annotations, the one that is marked as ground truth. ValueError when none is.
    """
    if 'annotations' not in task:  # JSON-MIN, where the key of regions is the name of their tool
        lists = [value for value in task.values() if isinstance(value, list)]
        found = [result for value in lists for result in value if isinstance(result, dict)]
        return found if found or 'annotation_id' in task else None
    done = [one for one in task['annotations'] if not one.get('was_cancelled')]
    if len(done) > 1:
        done = [one for one in done if one.get('ground_truth')] or done
    if len(done) > 1:
        return [dict(type='several', several=len(done))]
    return done[0].get('result', []) if done else None


def _is_region(result: dict) -> bool:
    value = result.get('value', result)
    return 'several' in result or any(key in value for key in (*LABELS, 'points', 'rle', 'x'))


def _label(result: dict) -> str:
    value = result.get('value', result)
    if 'several' in result:
        raise ValueError(
            f'got {result["several"]} annotations of one task, expected one, or one that is marked '
            'as ground truth'
        )
    for key in LABELS:
        if value.get(key):
            if len(value[key]) > 1:
                raise ValueError(f'got a region with several labels: {", ".join(value[key])}')
            return str(value[key][0])
    raise ValueError('got a region without a label')


def _shape(result: dict, size: tuple[int, int]) -> Shape:
    value = result.get('value', result)
    if result.get('image_rotation'):
        raise ValueError(
            f'got an image that was turned by {result["image_rotation"]} degrees in Label Studio, '
            'expected none: turn the image file, and annotate that'
        )
    share = np.array(size[::-1]) / 100
    if 'rle' in value:
        return Grid(decode_brush(value['rle'], *size), size)
    if 'points' in value:
        return Polygons([np.array(value['points'], float) * share], size)
    corner = np.array([value.get('x', 0), value.get('y', 0)], float) * share
    turn = float(value.get('rotation') or 0)
    if 'radiusX' in value:
        points = ellipse(corner, (value['radiusX'], value['radiusY']) * share, turn)
    elif 'width' in value and 'rectanglelabels' in value:
        box = (value['width'], value['height']) * share
        points = turned(rectangle(0, 0, *box), turn) + corner  # turned around its first corner
    else:
        raise ValueError('got a region without an area, expected a polygon or brush')
    return Polygons([np.clip(points, 0, size[::-1]) if 'radiusX' in value else points], size)


def _png(file: Path, size: tuple[int, int]) -> Shape:
    with Image.open(file) as image:
        inside = np.asarray(image.convert('L')) > 127
    if inside.shape != size:
        raise ValueError(f'got a mask of {inside.shape[::-1]}, expected {size[::-1]}')
    return Grid(inside, size)
