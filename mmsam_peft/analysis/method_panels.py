"""Several methods and the truth side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from torch import nn

from ..apis.inference import init_model
from ..registry import DATASETS
from ..visualization.classes import Look, look_of, overlay
from ..visualization.images import image_to_show, resized
from ..visualization.panel import over
from ..visualization.sheet import sheet

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the image."""
SIDE = 240
"""Pixels of a picture's longer side, unless said otherwise."""
FRAME = (255, 214, 10)


@dataclass
class Method:
    """A trained model, and the images of its config."""

    name: str
    model: nn.Module
    dataset: BaseDataset
    pixels: dict | None


def load_method(text: str, split: str = 'test', device: str | None = None) -> Method:
    """From NAME=CONFIG,WEIGHTS. ValueError for another notation."""
    name, _, source = text.rpartition('=')
    config, _, weights = source.partition(',')
    if not name or not weights:
        raise ValueError(f'got {text!r}, expected NAME=CONFIG,WEIGHTS.')
    model = init_model(config, weights, device)
    dataset = DATASETS.build(model.cfg[f'{split}_dataloader'].dataset)
    return Method(name, model, dataset, model.cfg.get('pixels'))


def method_panels(
    methods: Sequence[Method],
    numbers: Sequence[int],
    boxes: Mapping[int, Sequence[Box]] | None = None,
    title: str = '',
    side: int = SIDE,
) -> np.ndarray:
    """A picture, RGB, uint8: a row for each image, or for each image and task; in its columns the
    image, each method's prediction, the truth.

    Args:
        numbers: Of the images in the methods' data sets.
        boxes: Frames to be drawn by the number of the image.
        side: Pixels of the longer side of each picture.

    Raises:
        ValueError: The methods have other images, classes or tasks; no such image.
    """
    rows, look = [], None
    for number in numbers:
        views = [view(method, number) for method in methods]
        paths = {str(Path(one.path).resolve()) for one in views}
        if len(paths) > 1 or len({tuple(one.predictions) for one in views}) > 1:
            raise ValueError(
                f'Image {number} is not the same for all methods, or their tasks differ: '
                f'{", ".join(sorted(paths))}; {[tuple(one.predictions) for one in views]}. Compare '
                'methods that were trained on one data set.'
            )
        image = image_to_show(views[0].path, methods[0].pixels)
        marked = (boxes or {}).get(number, ())
        for task in views[0].predictions:
            drawn, look = _row(image, task, views, methods)
            captions = ['image', *(method.name for method in methods), 'truth']
            if task:
                captions = [captions[0], *(f'{one}, {task}' for one in captions[1:])]
            captions = captions if task or not rows else [''] * len(captions)
            tiles = [
                one if one is None else framed(one, image.shape, marked, side) for one in drawn
            ]
            rows.append(list(zip(captions, tiles, strict=True)))
    _one_size(rows)
    return sheet(title, rows, _legend(look))


@dataclass(frozen=True)
class View:
    """What a method says of an image and what is true, by task; '' is the only task. Arrays are (c,
    H, W)."""

    path: str
    predictions: dict[str, np.ndarray]
    truths: dict[str, np.ndarray | None]


@torch.no_grad()
def view(method: Method, number: int) -> View:
    if not 0 <= number < len(method.dataset):
        raise ValueError(
            f'There is no image {number}: the data set of {method.name} has {len(method.dataset)}, '
            'counted from 0.'
        )
    sample = method.dataset[number]
    labels = sample['data_samples']
    tasks = getattr(method.model, 'tasks', None)
    names = {name: (f'pred_{name}', f'gt_{name}') for name in tasks} if tasks else {}
    names = names or {'': ('pred_sem_seg', 'gt_sem_seg')}
    truths = {name: _array(labels.get(truth)) for name, (_, truth) in names.items()}
    result = method.model.test_step(pseudo_collate([sample]))[0]
    predictions = {name: _array(result.get(said)) for name, (said, _) in names.items()}
    return View(result.img_path, predictions, truths)


def _array(found) -> np.ndarray | None:
    if found is None:
        return None
    values = found.data.cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _row(
    image: np.ndarray, task: str, views: Sequence[View], methods: Sequence[Method]
) -> tuple[Iterator[np.ndarray | None], Look | None]:
    """The image, the predictions and the truth in colour, all of the image's size."""
    maps = [one.predictions[task] for one in views] + [views[0].truths[task]]
    if not task:
        meta = methods[0].model.dataset_meta
        classes = meta.get('classes')
        look = look_of(classes, meta.get('palette'), number=max(2, len(classes or ())))
        drawn = [
            None if one is None else overlay(image, _at(one, image)[0].astype(np.uint8), look)
            for one in maps
        ]
        return iter([image, *drawn]), look
    kind = methods[0].model.tasks[task]
    ends = maps[-1] if maps[-1] is not None else maps[0]
    limits = kind.limits(ends)
    drawn = [None if one is None else over(image, kind, _at(one, image), limits) for one in maps]
    return iter([image, *drawn]), None


def _at(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(c, H, W) at the image's size, of the same values."""
    H, W = image.shape[:2]
    rows = (np.arange(H) * values.shape[1] // H).clip(max=values.shape[1] - 1)
    columns = (np.arange(W) * values.shape[2] // W).clip(max=values.shape[2] - 1)
    return values[:, rows[:, None], columns]


def framed(
    picture: np.ndarray, shape: Sequence[int], boxes: Sequence[Box], side: int = SIDE
) -> np.ndarray:
    """The picture, its longer side ``side`` pixels, with frames given in the pixels of an image of
    ``shape``."""
    scale = side / max(shape[:2])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    small = resized(picture, (height, width)).copy()
    for x, y, w, h in boxes:
        left, right = (min(max(0, round(at * scale)), width - 1) for at in (x, x + w))
        top, bottom = (min(max(0, round(at * scale)), height - 1) for at in (y, y + h))
        for thick in range(2):
            for at in (top + thick, bottom - thick):
                small[min(max(at, 0), height - 1), left : right + 1] = FRAME
            for at in (left + thick, right - thick):
                small[top : bottom + 1, min(max(at, 0), width - 1)] = FRAME
    return small


def _one_size(rows: list[list[tuple[str, np.ndarray | None]]]) -> None:
    """Images of other shapes get white margins."""
    tiles = [tile for row in rows for _, tile in row if tile is not None]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    for row in rows:
        for i, (caption, tile) in enumerate(row):
            if tile is not None and tile.shape[:2] != (height, width):
                paper = np.full((height, width, 3), 255, np.uint8)
                paper[: tile.shape[0], : tile.shape[1]] = tile
                row[i] = caption, paper


def _legend(look: Look | None) -> list[tuple]:
    """The classes, where there are several beside the clear one."""
    if look is None or len(look.names) - (look.clear is not None) < 2:
        return []
    return [
        (name, tuple(map(int, look.colours[i])))
        for i, name in enumerate(look.names)
        if i != look.clear
    ]
