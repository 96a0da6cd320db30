"""``prompts``: training with boxes and clicks beside training without."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from ..pipelines import pipelines, type_name
from .base import Place, Setting

SHARES = ('box', 'point', 'none')
USUAL = dict(box=0.5, point=0.3, none=0.2, rounds=4, objects=4, keep=0)


class Prompts(Setting):
    """How a binary model of SAM's learns to answer to boxes and clicks beside its answer without:
    ``dict(box=0.5, point=0.3, none=0.2, rounds=4)``.

    ``none`` is the share of the loss without a prompt, see ``PromptLoss``; ``box`` and ``point``
    are those of objects with a box and with a click. ``rounds`` is how often an object answers in a
    step, ``objects`` how many of an image take part. What is not said is as above, with
    ``objects=4``; the head gets ``prompts``, ``loss_prompts``, and every pipeline of training
    ``SamplePrompts``. Objects are those of the annotations, where a data set has them
    (``AnnotatedDataset``, ``instance_path`` of ``FolderDataset``), else connected parts of masks.
    """

    name = 'prompts'
    example = 'dict(box=0.5, point=0.3, none=0.2, rounds=4)'
    parts = True

    def read(self, given: Any) -> dict:
        if not isinstance(given, Mapping):
            raise ValueError(
                f'prompts={given!r}: expected {self.example}; to train without, leave it out.'
            )
        for key in given:
            if key not in USUAL:
                like = difflib.get_close_matches(str(key), USUAL, 1, 0.5)
                hint = f'did you mean {like[0]}?' if like else f'it has {", ".join(USUAL)}.'
                raise ValueError(f'prompts has no {key}: {hint}')
        asked = any(share in given for share in SHARES)
        usual = {key: 0 if asked and key in SHARES else one for key, one in USUAL.items()}
        value = {**usual, **given}
        for key in SHARES:
            if not _is_number(value[key]) or not 0 <= value[key] <= 1:
                raise ValueError(f'prompts.{key}={value[key]!r}: expected a share from 0 to 1.')
        total = sum(value[key] for key in SHARES)
        if abs(total - 1) > 1e-6:
            said = ', '.join(f'{key}={value[key]:g}' for key in SHARES)
            raise ValueError(
                f'prompts has {said}: these shares add up to {total:g}, expected 1. A share that '
                'is not said is 0 where another is.'
            )
        if value['none'] > 1 - 1e-6:
            raise ValueError('prompts.none=1 trains without prompts: leave prompts out.')
        for key in ('rounds', 'objects'):
            if type(value[key]) is not int or not 1 <= value[key] < 255:
                raise ValueError(
                    f'prompts.{key}={value[key]!r}: expected a whole number from 1 to 254.'
                )
        if not _is_number(value['keep']) or not 0 <= value['keep'] < math.inf:
            raise ValueError(f'prompts.keep={value["keep"]!r}: expected a weight, at least 0.')
        return value

    def places(self, cfg: Config) -> Iterator[Place]:
        head = (cfg.get('model') or {}).get('decode_head') or {}
        if 'loss_prompts' in head:
            yield Place('model.decode_head.loss_prompts', head, 'loss_prompts', None, bound=False)

    def apply(self, cfg: Config, value: dict) -> None:
        """Raises ValueError where the model or its data cannot be prompted."""
        head = _require_fit(cfg, value)
        if value['keep']:
            head['prompts'] = 'base'
        elif not _has_prompts(head) or head['prompts'] == 'base':
            head['prompts'] = ConfigDict()  # into which options can be merged
        head['loss_prompts'] = ConfigDict(_loss(value))
        for name, pipeline in _of_training(cfg):
            pipeline[:] = [step for step in pipeline if type_name(step) != 'SamplePrompts']
            kinds = [type_name(step) for step in pipeline]
            if 'PackSegInputs' not in kinds:
                raise ValueError(
                    f'prompts={value}: {name} has no PackSegInputs, before which they are drawn, '
                    f'but {", ".join(map(str, kinds))}.'
                )
            step = dict(type='SamplePrompts', **_drawn(value))
            pipeline.insert(kinds.index('PackSegInputs'), ConfigDict(step))
        for part in ('train', 'val', 'test'):
            for dataset in _datasets((cfg.get(f'{part}_dataloader') or {}).get('dataset')):
                if type_name(dataset) == 'AnnotatedDataset':
                    dataset.setdefault('instances', True)

    def disagreements(self, cfg: Config, value: dict) -> list[str]:
        head = _require_fit(cfg, value)
        faults = [
            f'model.decode_head.{key}: {head.get(key)}'
            for key, same in (
                (
                    'prompts',
                    _has_prompts(head) and (head['prompts'] == 'base') == bool(value['keep']),
                ),
                ('loss_prompts', head.get('loss_prompts') == _loss(value)),
            )
            if not same
        ]
        for name, pipeline in _of_training(cfg):
            kinds = [type_name(step) for step in pipeline]
            at = kinds.index('SamplePrompts') if 'SamplePrompts' in kinds else None
            if at is None:
                faults.append(f'{name}: no SamplePrompts')
            elif kinds[at + 1 : at + 2] != ['PackSegInputs']:
                faults.append(f'{name}: SamplePrompts is not right before PackSegInputs')
            elif any(pipeline[at].get(key) != one for key, one in _drawn(value).items()):
                faults.append(f'{name}.{at}: {dict(pipeline[at])}')
        return faults

    def holds(self, cfg: Config, value: dict) -> bool:
        return not self.disagreements(cfg, value)


def _require_fit(cfg: Config, value: dict) -> dict:
    """The head's config. ValueError where it is none that a prompt can mean something to."""
    model = cfg.get('model') or {}
    model = model.get('module') or model  # inside of a tta_model
    head = model.get('decode_head') or {}
    if 'tasks' in model:
        raise ValueError(
            f'prompts={value}: this config is one of several tasks, whose heads do not know which '
            'object a prompt means. Train a binary model, or leave prompts out.'
        )
    if not isinstance(head, dict) or type_name(head) != 'SAMMaskHead':
        found = type_name(head) if isinstance(head, dict) else 'several heads'
        raise ValueError(
            f'prompts={value}: the head of this config, {found}, takes no prompts; '
            'SAMMaskHead does, as in configs/lora/.'
        )
    if head.get('num_queries') is not None or head.get('num_classes', 2) != 2:
        raise ValueError(
            f'prompts={value}: a prompt means one object, and this head has '
            f'{head.get("num_classes")} classes (num_queries={head.get("num_queries")}). Use a '
            'binary config, such as configs/lora/kvasir.py, or leave prompts out.'
        )
    return head


def _has_prompts(head: dict) -> bool:
    return head.get('prompts') not in (None, False)


def _of_training(cfg: Config) -> list[tuple[str, list]]:
    return [(name, one) for name, one in pipelines(cfg) if name.startswith('train_')]


def _datasets(node: Any) -> Iterator[dict]:
    """A data set's config, and those inside of wrappers."""
    if isinstance(node, Mapping):
        yield node
        for inner in (node.get('dataset'), *(node.get('datasets') or ())):
            yield from _datasets(inner)


def _loss(value: dict) -> dict:
    return dict(none=value['none'], rounds=value['rounds'], keep=value['keep'])


def _drawn(value: dict) -> dict:
    asked = value['box'] + value['point']
    return dict(box=round(value['box'] / asked, 6), objects=value['objects'])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
