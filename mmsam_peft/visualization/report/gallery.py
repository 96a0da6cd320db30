"""Best, middle and worst images as small pictures inside of the page."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from ...evaluation.examples import Example
from ...evaluation.record import Record, View
from ...tasks.base import Task, build_tasks
from ...tasks.semantic import SemanticSegmentation
from ..classes import Look, look_of, mistake_names, mistakes, overlay
from ..images import image_to_show, resized
from .charts import amount

GROUPS = dict(best='Best', median='In the middle', worst='Worst')


class Gallery:
    """The pictures of a page, which together stay below ``most`` bytes.

    Args:
        records: Whose examples are shown.
    """

    def __init__(self, records: Sequence[Record], most: int = 2_400_000) -> None:
        self.missing: list[str] = []
        views = [(record, view) for record in records for view in record.views]
        tiles = {
            id(example): list(self._tiles(view, example, record.info.get('pixels')))
            for record, view in views
            for example in view.examples
        }
        each = {'best': 3, 'median': 3, 'worst': 3}
        if len(views) > 1:
            each = dict.fromkeys(each, 2 if len(views) <= 3 else 1)
        kept = {
            id(example)
            for _, view in views
            for group, count in each.items()
            for example in [one for one in view.examples if one.group == group][:count]
        }
        self.pictures: dict[int, list[tuple[str, str]]] = {}
        for longest, quality in ((320, 85), (320, 70), (240, 70), (160, 60), (96, 50), (48, 40)):
            self.pictures = {
                key: [(name, encoded(picture, longest, quality)) for name, picture in found]
                for key, found in tiles.items()
                if key in kept
            }
            if sum(len(uri) for found in self.pictures.values() for _, uri in found) <= most:
                break

    def _tiles(
        self, view: View, example: Example, pixels: dict | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        size = example.truth.shape[-2:]
        try:
            image = resized(image_to_show(example.path, pixels), size)
            yield 'image', image
        except Exception as error:  # each decoder has its own
            self.missing.append(f'{example.path} ({error})')
            image = np.full((*size, 3), 128, np.uint8)
        task = task_of(view)
        if task is None or isinstance(task, SemanticSegmentation):
            look = look_of_view(view, task)
            truth, prediction = (
                one.reshape(size).astype(np.uint8) for one in (example.truth, example.prediction)
            )
            yield 'truth', overlay(image, truth, look)
            yield 'prediction', overlay(image, prediction, look)
            yield 'mistakes', mistakes(image, prediction, truth, look)
            return
        values = [one.astype(np.float32) for one in (example.truth, example.prediction)]
        limits = task.limits(values[0]) or task.limits(values[1])
        yield 'truth', task.draw(values[0], limits)
        yield 'prediction', task.draw(values[1], limits)

    def html(self, view: View) -> str:
        """The three groups beside each other."""
        columns = []
        for group, title in GROUPS.items():
            figures = [
                self._figure(view, one)
                for one in view.examples
                if one.group == group and id(one) in self.pictures
            ]
            if figures:
                columns.append(f'<div class="card"><h3>{title}</h3>{"".join(figures)}</div>')
        return f'{keys(view)}<div class="grid three">{"".join(columns)}</div>' if columns else ''

    def _figure(self, view: View, example: Example) -> str:
        name = Path(example.path).name
        tiles = self.pictures[id(example)]
        pictures = ''.join(
            f'<div><img src="{uri}" alt="{escape(f"{caption}, {name}", quote=True)}"/>'
            f'<span>{caption}</span></div>'
            for caption, uri in tiles
        )
        score = view.score.removeprefix(f'{view.name}/')
        return (
            f'<figure><figcaption><span title="{escape(example.path, quote=True)}">{escape(name)}'
            f'</span><span class="num"><small>{escape(score)}</small> '
            f'<strong>{amount(example.score)}</strong></span></figcaption>'
            f'<div class="tiles{" many" if len(tiles) == 3 else ""}">{pictures}</div></figure>'
        )


def keys(view: View) -> str:
    """What the colours mean."""
    task = task_of(view)
    if task is not None and not isinstance(task, SemanticSegmentation):
        return ''
    look = look_of_view(view, task)
    present = {
        int(value)
        for example in view.examples
        for one in (example.truth, example.prediction)
        for value in np.unique(one)
    }
    shown = [
        (name, tuple(map(int, look.colours[i])))
        for i, name in enumerate(look.names)
        if i in present and i != look.clear
    ]
    shown += [(f'mistake: {name}', colour) for name, colour in mistake_names(look)]
    if look.ignore in present and look.ignore >= len(look.names):
        shown.append(('ignored', (150, 150, 150)))
    return f'<div class="keys">{"".join(map(swatch, *zip(*shown, strict=True)))}</div>'


def swatch(name: str, colour: Sequence[int]) -> str:
    code = '#{:02x}{:02x}{:02x}'.format(*colour)
    return f'<span><span class="swatch" style="background:{code}"></span>{escape(name)}</span>'


def task_of(view: View) -> Task | None:
    """The task of a view; None for plain classes."""
    config = view.settings.get('task')
    return build_tasks([config])[0] if config else None


def look_of_view(view: View, task: Task | None) -> Look:
    if task is not None:
        return look_of(task.classes, task.palette.tolist(), number=task.channels)
    return look_of(
        view.settings.get('classes'),
        view.settings.get('palette'),
        view.settings.get('ignore', 255),
    )


def encoded(picture: np.ndarray, longest: int, quality: int) -> str:
    """A JPEG as a data URI."""
    height, width = picture.shape[:2]
    scale = min(1, longest / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    _, content = cv2.imencode(
        '.jpg',
        np.ascontiguousarray(resized(picture, size)[..., ::-1]),
        [cv2.IMWRITE_JPEG_QUALITY, quality],
    )
    return 'data:image/jpeg;base64,' + base64.b64encode(content.tobytes()).decode()
