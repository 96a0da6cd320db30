"""What an evaluation leaves for the report: the numbers of each image, and a few predictions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..whole_files import whole_file
from .examples import Example
from .tallies import Numbers, Tally, build_tally


@dataclass
class Counted:
    """A tally and the numbers of the images that take part in it."""

    tally: Tally
    images: np.ndarray
    """(n,), their places in ``Record.images``."""
    numbers: Numbers
    """(n, ...) each; empty where they were too many to keep."""
    of_images: dict[str, np.ndarray]
    """(n,), each image's own scores by name."""


@dataclass
class View:
    """One thing that is predicted: classes, or a task."""

    name: str
    """'' for the only one."""
    score: str
    """The score by which ``examples`` were chosen."""
    examples: list[Example]
    settings: dict = field(default_factory=dict)
    """``task``: its config; else ``classes``, ``palette`` and ``ignore``."""


@dataclass
class Record:
    """One evaluation of a set."""

    info: dict
    """Plain JSON: ``split``, ``iteration``, ``epoch``, ``scores`` by name as they were logged,
    ``better`` by name, ``main`` (the score that counts most), ``threshold``, ``weights``,
    ``pixels`` (how images are read)."""
    images: list[str]
    counted: list[Counted]
    views: list[View]
    curve: np.ndarray | None = None
    """Mean Dice in percent at each threshold."""


def write_record(record: Record, path: Path) -> None:
    arrays, counted, views = {}, [], []
    for i, one in enumerate(record.counted):
        counted.append(one.tally.settings())
        arrays[f'{i}.images'] = one.images
        arrays |= {f'{i}.numbers.{name}': _single(value) for name, value in one.numbers.items()}
        arrays |= {f'{i}.scores.{name}': value for name, value in one.of_images.items()}
    for i, view in enumerate(record.views):
        examples = [dict(score=one.score, path=one.path, group=one.group) for one in view.examples]
        views.append(
            dict(name=view.name, score=view.score, settings=view.settings, examples=examples)
        )
        for j, one in enumerate(view.examples):
            arrays |= {f'{i}.{j}.prediction': one.prediction, f'{i}.{j}.truth': one.truth}
    if record.curve is not None:
        arrays['curve'] = record.curve
    text = json.dumps(dict(info=record.info, counted=counted, views=views, images=record.images))
    arrays['text'] = np.frombuffer(text.encode(), np.uint8)
    with whole_file(path) as unfinished, open(unfinished, 'wb') as file:
        np.savez_compressed(file, **arrays)


def read_record(path: Path) -> Record:
    """Raises ValueError for a file that is damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = json.loads(arrays.pop('text').tobytes())
        counted = [
            Counted(
                build_tally(settings),
                arrays[f'{i}.images'],
                _below(arrays, f'{i}.numbers.'),
                _below(arrays, f'{i}.scores.'),
            )
            for i, settings in enumerate(text['counted'])
        ]
        views = []
        for i, one in enumerate(text['views']):
            examples = [
                Example(
                    shown=0,
                    prediction=arrays[f'{i}.{j}.prediction'],
                    truth=arrays[f'{i}.{j}.truth'],
                    **example,
                )
                for j, example in enumerate(one.pop('examples'))
            ]
            views.append(View(examples=examples, **one))
        return Record(text['info'], text['images'], counted, views, arrays.get('curve'))
    except Exception as error:  # damaged archives and foreign ones fail in many ways
        raise ValueError(
            f'{path} cannot be read ({type(error).__name__}: {str(error)[:200]}). It is damaged, '
            'or of another version: remove it and evaluate again.'
        ) from error


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> Numbers:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def _single(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them, others in float64."""
    whole = values.size and (values == np.rint(values)).all() and values.min() >= 0
    return values.astype(np.min_scalar_type(int(values.max()))) if whole else values
