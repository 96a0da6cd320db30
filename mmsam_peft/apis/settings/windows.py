"""``windows``: cutting large images into windows instead of shrinking them."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from ..pipelines import groups, pipelines, type_name
from .base import Place, Setting

SIZED = ('Resize', 'RandomResize', 'RandomCrop', 'CenterCrop')
"""Steps whose work the windows do."""
LEAST_OTHER = 0.01
"""Share of a training window that should be of another class than the rest: up to ten are tried,
so that few show the background alone."""


class Windows(Setting):
    """How large images are before windows of ``image_size`` are cut from them: 1 for their own
    size, 0.5 for half of it.

    Training sees one random window of an image; validation, test and prediction slide the window
    over all of it, with a third of overlap. Every pipeline loses its step that brings whole images
    to one size.
    """

    name = 'windows'
    example = '1.0'

    def read(self, given: Any) -> float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not 0 < given <= 16:
            raise ValueError(
                f'windows={given!r}: expected the scale at which images are cut into windows, a '
                'number such as 1.0 for their own size; without windows leave it out.'
            )
        return float(given)

    def places(self, cfg: Config) -> Iterator[Place]:
        return iter(())

    def apply(self, cfg: Config, value: float) -> None:
        model = cfg.get('model') or {}
        size = ((model.get('data_preprocessor') or {}).get('size')) or ()
        if len(size) != 2 or 'tasks' in model:
            raise ValueError(
                f"windows={value}: this config does not say the size of the network's input, or "
                'is one of several tasks: set model.test_cfg and the pipelines as docs/speed.md '
                'shows.'
            )
        stride = tuple(max(1, side * 2 // 3) for side in size)
        test = dict(mode='slide', crop_size=tuple(size), stride=stride)
        model['test_cfg'] = ConfigDict(test)
        for name, pipeline in pipelines(cfg):
            if name.startswith('train_'):
                crop = dict(type='RandomCrop', crop_size=tuple(size), cat_max_ratio=1 - LEAST_OTHER)
                _replace(pipeline, value, [crop])
            else:
                _replace(pipeline, value, [])

    def disagreements(self, cfg: Config, value: float) -> list[str]:
        mode = ((cfg.get('model') or {}).get('test_cfg') or {}).get('mode')
        faults = [] if mode == 'slide' else [f'model.test_cfg.mode: {mode}']
        for name, pipeline in pipelines(cfg):
            steps = [step for group in groups(pipeline, name) for _, step in group]
            scales = [step.get('scale_factor') for step in steps if type_name(step) == 'Resize']
            if scales != [value] * (value != 1):
                faults.append(f'{name}: steps of the type Resize with scale_factor={scales}')
        return faults + [
            f'{name}: a step of the type {kind}'
            for name, pipeline in pipelines(cfg)
            for kind in map(type_name, pipeline)
            if kind == 'RandomResize' or kind == 'RandomCrop' and not name.startswith('train_')
        ]


def _replace(pipeline: list, scale: float, then: list[dict]) -> None:
    """Puts the scaling, if any, and ``then`` in the place of the steps that set a size."""
    views = next((step for step in pipeline if type_name(step) == 'TestTimeAug'), None)
    if views:
        groups = views['transforms']
        kept = [group for group in groups if type_name(group[0]) not in SIZED]
        steps = [step for group in groups for step in group]
        scaled = [[ConfigDict(_scaled(steps, scale))]] if scale != 1 else []
        views['transforms'] = [*scaled, *kept]
        return
    new = [*([_scaled(pipeline, scale)] if scale != 1 else []), *then]
    places = [i for i, step in enumerate(pipeline) if type_name(step) in SIZED]
    for i in reversed(places):
        del pipeline[i]
    # Masks that are scored keep their size, so there the image alone is scaled.
    loads = [(type_name(step) or '').startswith('Load') for step in pipeline]
    first = places[0] if places else loads.index(False) if then else 1
    pipeline[first:first] = map(ConfigDict, new)


def _scaled(steps: list, scale: float) -> dict:
    """A resizing step by a factor, with the interpolation of the one that it replaces."""
    old = next((step for step in steps if type_name(step) == 'Resize'), {})
    return dict(
        type='Resize', scale_factor=scale, interpolation=old.get('interpolation', 'bicubic')
    )
