"""``pixels``: which bands of the image files the network sees, and which of their values become 0
to 255."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ...datasets.pixels import Pixels as Value
from ..pipelines import groups, pipelines, type_name
from .base import Place, Setting, takes

READERS = ('LoadImageFromFile', 'LoadImageOrArray', 'LoadImageFromNDArray')
IN_BYTES = ('PhotoMetricDistortion', 'CLAHE', 'AdjustGamma', 'RGB2Gray')
"""MMSegmentation's transforms that take images of three channels of 8 bits only, and give wrong
ones for others without a word."""


class Pixels(Setting):
    """What of the image files becomes the picture: ``dict(low=..., high=..., bands=...)``, see
    :class:`mmsam_peft.datasets.pixels.Pixels`.

    It is the ``pixels`` of the step that reads images in every pipeline (train, validation, test,
    test-time augmentation), and of the model, which writes it into adapter files. Where there are
    more than three bands, ``model.backbone.in_channels`` follows, and so do mean and standard
    deviation of the preprocessor: for further bands they are the averages of those that are there.
    """

    name = 'pixels'
    example = "dict(low=0, high=4095, dtype='uint16'), in the config file"

    def read(self, given: Any) -> dict:
        return Value.of(given).setting()

    def places(self, cfg: Config) -> Iterator[Place]:
        for name, step in _steps(cfg):
            if type_name(step) in READERS:
                yield self._place(name, step)
        if takes(_model(cfg).get('type'), 'pixels'):
            yield self._place('model', _model(cfg))

    def _place(self, name: str, node: dict) -> Place:
        said = node.get('pixels')
        return Place(f'{name}.pixels', node, 'pixels', None if said is None else self.read(said))

    def apply(self, cfg: Config, value: dict) -> None:
        _require_float_steps(cfg, value)
        super().apply(cfg, value)
        channels, backbone = Value.of(value).channels, _model(cfg).get('backbone') or {}
        kinds = dict(pixels=_model(cfg).get('type'), in_channels=backbone.get('type'))
        if channels > 3 and not all(takes(kind, name) for name, kind in kinds.items()):
            raise ValueError(
                f'pixels={value} makes images of {channels} channels, but a {kinds["pixels"]} with '
                f'{kinds["in_channels"]} cannot keep its weights for three and learn more: choose '
                'three bands, or a PEFTSegmentor with SAMViT.'
            )
        if channels > 3 or 'in_channels' in backbone:
            backbone['in_channels'] = channels
        prepared = _model(cfg).get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        for key in ('mean', 'std'):
            if prepared.get(key) is not None and len(prepared[key]) != channels:
                known = list(prepared[key])[:3]
                prepared[key] = known + [sum(known) / len(known)] * (channels - len(known))

    def disagreements(self, cfg: Config, value: dict) -> list[str]:
        channels, found = Value.of(value).channels, super().disagreements(cfg, value)
        backbone = _model(cfg).get('backbone') or {}
        if takes(backbone.get('type'), 'in_channels') and _channels(backbone) != channels:
            found.append(f'model.backbone.in_channels: {_channels(backbone)}, expected {channels}')
        return found

    def check(self, cfg: Config) -> None:
        said = {place.name: place.value or {} for place in self.places(cfg)}
        if any(value != next(iter(said.values())) for value in said.values()):
            raise ValueError(
                'images are read in several ways:\n'
                + '\n'.join(f'  {name}: {value or "8 bits"}' for name, value in said.items())
                + '\nSet pixels once, at the top of the config; it reaches all of them.'
            )


def _channels(backbone: Mapping) -> int:
    return backbone.get('in_channels', 3)


def _require_float_steps(cfg: Config, value: dict) -> None:
    if 'low' not in value and Value.of(value).channels == 3:
        return
    for name, step in _steps(cfg):
        if (kind := type_name(step)) in IN_BYTES:
            raise ValueError(
                f'pixels={value}, but {name}, {kind}, is for images of three channels of 8 bits: '
                'leave it out.'
            )


def _steps(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Every step of every pipeline, with its dotted name."""
    for name, pipeline in pipelines(cfg):
        for group in groups(pipeline, name):
            yield from ((place, step) for place, step in group if isinstance(step, Mapping))


def _model(cfg: Config) -> dict:
    model = cfg.get('model') or {}
    return model.get('module') or model  # inside of a tta_model
