"""``image_size``: what the network sees, (height, width) in pixels."""

import inspect
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config

from ...registry import MODELS
from ..pipelines import groups, pipelines, type_name
from .base import Place, Setting

Size = tuple[int, int]

LAST = {
    'Resize': ('scale', 'width, height'),
    'RandomCrop': ('crop_size', 'height, width'),
    'CenterCrop': ('crop_size', 'width, height'),
    'Pad': ('size', 'width, height'),
    'MultiTaskResize': ('size', 'long side'),
}
"""Transforms that decide the size of what follows: their argument, and how it is written."""
BEFORE = {'RandomResize': ('scale', 'width, height')}
"""Transforms that change the size by chance, before another one decides it."""


class ImageSize(Setting):
    """The size that images have when they reach the network: an int, or (height, width).

    It is the size of the last resizing or cropping step of every pipeline (train, validation, test,
    test-time augmentation), of the preprocessor's padding and of the ``img_size`` of the encoder,
    or of a decode head that is made for one. With
    sliding windows, ``model.test_cfg.mode='slide'``, it is the window's: then the sizes to which
    whole images are brought before stay as they are.
    """

    name = 'image_size'
    example = '256'

    def read(self, given: Any) -> Size:
        sides = (given, given) if isinstance(given, int) else given
        two = isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == 2
        if not two or not all(type(side) is int and side > 0 for side in sides):
            raise ValueError(
                f'image_size={given!r}: expected a whole number of pixels, 256, or two, (height, '
                'width).'
            )
        return tuple(sides)

    def places(self, cfg: Config) -> Iterator[Place]:
        model = _model(cfg)
        windows = (model.get('test_cfg') or {}).get('mode') == 'slide'
        prepared = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        if (side := _img_size(model)) is not None:
            yield Place('model.backbone.img_size', model['backbone'], 'img_size', self.read(side))
        if isinstance(head := model.get('decode_head'), dict):
            yield from self._tuple('model.decode_head', head, 'img_size')
        if prepared and prepared.get('size_divisor') is None:
            size = prepared.get('size')
            value = None if size is None else self.read(size)
            yield Place('model.data_preprocessor.size', prepared, 'size', value)
        if windows:
            yield from self._tuple('model.test_cfg', model['test_cfg'], 'crop_size')
        else:
            padded = prepared.get('test_cfg') or {}
            yield from self._tuple('model.data_preprocessor.test_cfg', padded, 'size')
        for name, pipeline in pipelines(cfg):
            scenes = windows and not name.startswith('train_')
            yield from _of_pipeline(pipeline, name, not scenes and name != 'train_pipeline')

    def _tuple(self, name: str, node: dict, key: str) -> Iterator[Place]:
        if node.get(key) is not None:
            yield Place(f'{name}.{key}', node, key, self.read(node[key]))

    def apply(self, cfg: Config, value: Size) -> None:
        self._require_steps(cfg, value)
        super().apply(cfg, value)
        window = _model(cfg).get('test_cfg') or {}
        if window.get('mode') == 'slide' and any(map(operator.gt, window['stride'], value)):
            window['stride'] = tuple(max(1, side * 2 // 3) for side in value)

    def check(self, cfg: Config) -> None:
        """An encoder that is made for one size must get it everywhere; without one, other sizes in
        testing than in training are usual."""
        side = _img_size(_model(cfg))
        if side is None:
            return
        made_for = self.read(side)
        if faults := self.disagreements(cfg, made_for):
            raise ValueError(
                f'the encoder is made for images of {made_for[0]} x {made_for[1]} (height x '
                'width, model.backbone.img_size), but other places of the config have another '
                'size:\n'
                + '\n'.join(f'  {line}' for line in faults)
                + '\nSet image_size once, at the top of the config or with --image-size; it '
                'reaches all of them. For windows of large images, see '
                "model.test_cfg.mode='slide'."
            )

    def _require_steps(self, cfg: Config, value: Size) -> None:
        """Raises ValueError where a pipeline has no step that could bring images to the size."""
        windows = (_model(cfg).get('test_cfg') or {}).get('mode') == 'slide'
        for name, pipeline in pipelines(cfg):
            free = name == 'train_pipeline' or windows and not name.startswith('train_')
            if not free and not any(True for _ in _of_pipeline(pipeline, name, True)):
                raise ValueError(
                    f'image_size={value}: {name} has no step that brings images to a size. Add '
                    "dict(type='Resize', scale=(width, height)) to it, or another of "
                    f'{", ".join(LAST)}.'
                )


def _model(cfg: Config) -> dict:
    model = cfg.get('model') or {}
    return model.get('module') or model  # inside of a tta_model


def _img_size(model: dict) -> int | Sequence | None:
    """What the encoder is made for; None where it is made for no size."""
    backbone = model.get('backbone') or {}
    if backbone.get('img_size') is not None or not backbone.get('type'):
        return backbone.get('img_size')
    kind = MODELS.get(backbone['type']) if isinstance(backbone['type'], str) else backbone['type']
    taken = inspect.signature(kind).parameters.get('img_size') if kind else None
    return taken.default if taken and taken.default is not taken.empty else None


def _of_pipeline(pipeline: list, name: str, bound: bool) -> Iterator[Place]:
    """The steps that set a size. Only the last ones are bound to it: RandomCrop may follow
    Resize."""
    found = [
        [_step(place, step) for place, step in group if _kind(step) in {**LAST, **BEFORE}]
        for group in groups(pipeline, name)
    ]
    found = [[place for place in group if place] for group in found]
    last = next((group for group in reversed(found) if any(one.bound for one in group)), [])
    for group in found:
        for place in group:
            place.bound = bound and place.bound and group is last
            yield place


def _step(name: str, step: dict) -> Place | None:
    kind = _kind(step)
    key, order = {**LAST, **BEFORE}[kind]
    written = step.get(key)
    sides = (written, written) if isinstance(written, int) else written
    two = isinstance(sides, Sequence) and len(sides) == 2
    if not two or not all(isinstance(side, int) for side in sides):
        return None  # a factor, or a range of sizes
    value, as_written = tuple(sides), tuple
    if order == 'width, height':
        value, as_written = value[::-1], lambda size: size[::-1]
    elif order == 'long side':
        value, as_written = LongSide(value), max
    return Place(f'{name}.{key}', step, key, value, as_written, kind in LAST)


def _kind(step: dict) -> str | None:
    return type_name(step) if isinstance(step, dict) else None


class LongSide(tuple):
    """The long side of any size: equal to each that has it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and max(self) == max(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return str(max(self))
