"""``augment``: how training images are changed by chance."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from ...datasets.augmentation import PRESETS, REPLACED, preset
from ..pipelines import pipelines, type_name
from .base import Place, Setting

LAST = ('SamplePrompts', 'PackSegInputs')
"""Steps behind which no pixel may move."""


class Augment(Setting):
    """The random transforms of training images: 'none', 'light' (flips and scales) or 'strong'
    (turns and colours too).

    They take the place of the pipeline's own flips, turns, zooms and changes of colour; its
    resizing and cropping, which give images their size, stay.
    """

    name = 'augment'
    example = 'light'

    def read(self, given: Any) -> str:
        if given not in PRESETS:
            raise ValueError(f'augment={given!r}: expected one of {", ".join(PRESETS)}.')
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        for name, pipeline in pipelines(cfg):
            if name.startswith('train_'):
                found = _random(pipeline)
                says = next((one for one in PRESETS if found == _wanted(cfg, pipeline, one)), None)
                shown = ', '.join(map(type_name, found)) or 'no random transforms'
                yield Place(name, {'pipeline': pipeline}, 'pipeline', says or shown)

    def apply(self, cfg: Config, value: str) -> None:
        """Raises ValueError where the preset would make labels wrong, or there is no pipeline."""
        self._require_sound(cfg, value)
        found = [pipeline for name, pipeline in pipelines(cfg) if name.startswith('train_')]
        if not found:
            raise ValueError(f'augment={value!r}: this config has no pipeline of training.')
        for pipeline in found:
            kinds = [type_name(step) for step in pipeline]
            where = next((i for i, kind in enumerate(kinds) if kind == 'LoadMultiTaskLabels'), None)
            if where is None:
                where = next((i for i, kind in enumerate(kinds) if kind in LAST), None)
            else:
                where += 1  # MultiTaskResize, which comes later, leaves labels at their size
            if where is None:
                raise ValueError(
                    f'augment={value!r}: a pipeline of training has neither LoadMultiTaskLabels '
                    f'nor PackSegInputs, but {", ".join(map(str, kinds))}. Write the random '
                    'transforms into it and leave augment out.'
                )
            before = [step for step in pipeline[:where] if type_name(step) not in REPLACED]
            after = [step for step in pipeline[where:] if type_name(step) not in REPLACED]
            wanted = map(ConfigDict, _wanted(cfg, pipeline, value))
            pipeline[:] = [*before, *wanted, *after]

    def _require_sound(self, cfg: Config, value: str) -> None:
        tasks = (cfg.get('model') or {}).get('tasks') or ()
        turned = any(step.get('degrees') for step in preset(value, multi_task=True))
        normals = [task.get('name') for task in tasks if type_name(task) == 'SurfaceNormals']
        if turned and normals:
            raise ValueError(
                f"augment={value!r} turns images, and the task '{normals[0]}' cannot be turned: "
                "normals turn too, but labels do not say in which sense. Use augment='light'."
            )


def _random(pipeline: list) -> list[dict]:
    return [step for step in pipeline if type_name(step) in REPLACED]


def _wanted(cfg: Config, pipeline: list, value: str) -> list[dict]:
    several = any(type_name(step) == 'LoadMultiTaskLabels' for step in pipeline)
    colours = not (cfg.get('pixels') or {}).get('bands')
    return preset(value, several, colours)
