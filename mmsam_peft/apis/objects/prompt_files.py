"""Prompts for many images from a file: points or boxes in a CSV, boxes in a COCO JSON."""

import csv
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .coordinates import Size

POINTS, BOXES = ('image', 'x', 'y'), ('image', 'x0', 'y0', 'x1', 'y1')
OPTIONAL = {POINTS: ('label', 'object'), BOXES: ('object',)}
"""The columns of a CSV, and those that it may lack."""


class ObjectPrompt(NamedTuple):
    """What points at one object.

    Args:
        points: x and y in pixels of the image.
        labels: 1 on the object, 0 beside it.
        box: x0, y0, x1, y1; None for points.
        category: The COCO category; None where the file has none.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, ...] | None = None
    category: int | None = None


class ImagePrompts(NamedTuple):
    """The objects of an image.

    Args:
        size: (H, W) that the file says the image has; None where it does not.
        number: The image's id in a COCO file; None elsewhere.
    """

    objects: tuple[ObjectPrompt, ...]
    size: Size | None = None
    number: int | None = None


class PromptFile(NamedTuple):
    """Prompts by the image's name in the file, and the COCO categories of the objects."""

    images: dict[str, ImagePrompts]
    categories: list[dict] | None = None


def read_points(path: str | os.PathLike) -> PromptFile:
    """A CSV with the columns image, x, y, and label (1 on the object, which is the default, 0
    beside it) and object, whose value tells the objects of an image apart.

    Raises:
        FileNotFoundError, ValueError: No such file; other columns; a value that is no number;
            another label; several points of an image without the column object.
    """
    objects: dict[str, dict[str, list]] = {}
    for place, row in _rows(path, POINTS):
        label = _label(row.get('label') or '1', place)
        point = (_number(row['x'], 'x', place), _number(row['y'], 'y', place))
        of_image = objects.setdefault(row['image'], {})
        if of_image and row.get('object') is None:
            raise ValueError(
                f'{place}: a second point in {row["image"]}, and no column object, which says '
                'whether it is of the same object: add it, with a number or name in every line.'
            )
        of_image.setdefault(row.get('object') or '', []).append((point, label))
    return PromptFile(
        {
            name: ImagePrompts(
                tuple(ObjectPrompt(*zip(*rows, strict=True)) for rows in found.values())
            )
            for name, found in objects.items()
        }
    )


def read_boxes(path: str | os.PathLike) -> PromptFile:
    """A CSV with the columns image, x0, y0, x1, y1, a line for each object; or the boxes (bbox) of
    a COCO JSON.

    Raises:
        FileNotFoundError, ValueError: No such file; other columns; a value that is no number; a box
            without area; a JSON that is not COCO's.
    """
    if Path(path).suffix.lower() == '.json':
        return _coco(Path(path))
    images: dict[str, list[ObjectPrompt]] = {}
    for place, row in _rows(path, BOXES):
        box = tuple(_number(row[name], name, place) for name in BOXES[1:])
        images.setdefault(row['image'], []).append(ObjectPrompt(box=_with_area(box, place)))
    return PromptFile({name: ImagePrompts(tuple(found)) for name, found in images.items()})


def match_images(names: Iterable[str], images: Iterable[Path], root: Path) -> dict[str, Path]:
    """Which image each name means: its path below ``root``, or one that ends as that of a single
    image does, with more folders before it or fewer.

    Raises:
        FileNotFoundError: A name that no image has.
        ValueError: A name that several may have; two names of one image.
    """
    below = {image.relative_to(root).as_posix(): image for image in images}
    by_name: dict[str, list[str]] = {}
    for path in below:
        by_name.setdefault(Path(path).name, []).append(path)
    found, missing = {}, []
    for name in names:
        path = Path(name).as_posix()
        near = [one for one in by_name.get(Path(path).name, ()) if _ends_alike(one, path)]
        same = [below[one] for one in ([path] if path in below else near)]
        if len(same) > 1:
            raise ValueError(
                f'{name} may mean {same[0]} or {same[1]}: write the path below {root} in the file '
                'of prompts.'
            )
        if same:
            found[name] = same[0]
        else:
            missing.append(name)
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        raise FileNotFoundError(
            f'The file of prompts names {", ".join(missing[:3])}{more}, which are not among the '
            f'images to predict, such as {next(iter(below), "none")}.'
        )
    twice = {image: [name for name in found if found[name] == image] for image in found.values()}
    for image, both in twice.items():
        if len(both) > 1:
            raise ValueError(f'{both[0]} and {both[1]} both mean {image}: use one name for it.')
    return found


def _ends_alike(one: str, other: str) -> bool:
    shorter, longer = sorted((f'/{one}', f'/{other}'), key=len)
    return longer.endswith(shorter)


def _rows(path: str | os.PathLike, columns: tuple[str, ...]) -> Iterable[tuple[str, dict]]:
    """The lines of a CSV, each with its place in words. ValueError for other columns, or none."""
    with open(path, newline='', encoding='utf-8-sig') as file:
        try:
            lines = list(csv.reader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f'{path} is no CSV in UTF-8: {error}') from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    known = columns + OPTIONAL[columns]
    if missing := [name for name in columns if name not in header]:
        raise ValueError(
            f'{path}: got the columns {", ".join(header)[:80] or "(none)"}, expected '
            f'{", ".join(columns)} (and {", ".join(OPTIONAL[columns])}, if wanted) in its first '
            f'line, separated by commas: {missing[0]} is missing.'
        )
    if unknown := [name for name in header if name not in known]:
        raise ValueError(
            f'{path}: got the column {unknown[0] or "(without a name)"}, expected '
            f'{", ".join(known)} only.'
        )
    if len(set(header)) < len(header):
        raise ValueError(f'{path}: a column is there twice: {", ".join(header)}.')
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if any(map(str.strip, line))]
    if not rows:
        raise ValueError(f'{path} has no line below its first: there is nothing to predict.')
    for number, line in rows:
        place = f'{path}, line {number}'
        if len(line) != len(header):
            raise ValueError(f'{place}: got {len(line)} values, expected {len(header)}.')
        row = dict(zip(header, map(str.strip, line), strict=True))
        if empty := [name for name in (*columns, 'object') if row.get(name) == '']:
            raise ValueError(f'{place}: {empty[0]} is empty.')
        yield place, row


def _number(text: str, name: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{place}: got {name}={text}, expected a number, in pixels.')
    return value


def _label(text: str, place: str) -> int:
    if text not in ('0', '1'):
        raise ValueError(f'{place}: got label={text}, expected 1, on the object, or 0, beside it.')
    return int(text)


def _with_area(box: tuple[float, ...], place: str) -> tuple[float, ...]:
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(
            f'{place}: got the box {", ".join(f"{x:g}" for x in box)}, which has no area: expected '
            'x0 < x1 and y0 < y1.'
        )
    return box


def _coco(path: Path) -> PromptFile:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueError(f'{path} is no JSON: {str(error)[:100]}') from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('images', 'annotations')
    ):
        raise ValueError(
            f'{path}: expected a COCO JSON with images and annotations. A list of results alone '
            "has no file names: put it into the annotations of the data set's file."
        )
    images, objects = {}, {}
    for image in content['images']:
        number = _item(image, 'id', int, path, 'an image')
        images[number] = image
        objects[number] = []
        _item(image, 'file_name', str, path, f'image {number}')
    for annotation in content['annotations']:
        number = _item(annotation, 'image_id', int, path, 'an annotation')
        place = f'{path}, annotation {annotation.get("id", "")} of image {number}'
        if number not in images:
            raise ValueError(f'{place}: images has no such id.')
        if annotation.get('iscrowd'):  # not one object
            continue
        bbox = annotation.get('bbox')
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f'{place}: got bbox={bbox}, expected [x, y, width, height].')
        x, y, width, height = (_number(str(value), 'bbox', place) for value in bbox)
        box = _with_area((x, y, x + width, y + height), place)
        objects[number].append(ObjectPrompt(box=box, category=annotation.get('category_id')))
    names = [image['file_name'] for image in images.values()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{path}: two images are called {twice}.')
    if not any(objects.values()):
        raise ValueError(f'{path} has no annotation: there is nothing to predict.')
    sizes = {
        number: (image['height'], image['width']) if {'height', 'width'} <= image.keys() else None
        for number, image in images.items()
    }
    return PromptFile(
        {
            images[number]['file_name']: ImagePrompts(tuple(found), sizes[number], number)
            for number, found in objects.items()
            if found
        },
        content.get('categories'),
    )


def _item(value: object, key: str, kind: type, path: Path, what: str):
    found = value.get(key) if isinstance(value, dict) else None
    if type(found) is not kind:
        raise ValueError(f'{path}: {what} has {key}={found}, expected a {kind.__name__}.')
    return found
