"""``protocol``: the conventions of a paper's program, for comparing with its published numbers."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from ...adapters.allowed import find_class
from ...registry import METRICS, MODELS, PEFT, TASKS
from ..pipelines import groups, pipelines, type_name
from ..protocols import PROTOCOLS
from ..protocols import Protocol as Conventions
from .base import Place, Setting

LOADS_MASK = ('LoadMask', 'LoadAnnotations')


class Protocol(Setting):
    """The name of a paper's program, whose losses, metrics, sizes and batches then take the place
    of ours: see ``PROTOCOLS`` and docs/protocols.md.

    It reaches training, validation and test. The pipelines of prediction stay: what is predicted
    has the image's size.
    """

    name = 'protocol'
    example = 'conv_lora_2024'

    def read(self, given: Any) -> str:
        if given not in PROTOCOLS:
            raise ValueError(f'protocol={given!r}: expected one of {", ".join(PROTOCOLS)}.')
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        for name in [cfg.get('protocol')] if cfg.get('protocol') in PROTOCOLS else PROTOCOLS:
            for place, wanted in _wanted(cfg, PROTOCOLS[name]):
                says = name if place.value == wanted else f'{place.value}, not {wanted}'
                yield Place(place.name, place.node, place.key, says)

    def apply(self, cfg: Config, value: str) -> None:
        """Raises ValueError where the config is not for what the program is for."""
        _require_fit(cfg, value)
        for place, wanted in _wanted(cfg, PROTOCOLS[value]):
            place.node[place.key] = wanted
        if size := PROTOCOLS[value].scored_at:
            for name, pipeline in _scored(cfg):
                if _scored_at(pipeline, name) is None and not _add_step(pipeline, size):
                    raise ValueError(
                        f'protocol={value!r} scores at {size[0]} x {size[1]} pixels, but {name} '
                        f'has no {" or ".join(LOADS_MASK)} after which masks can be resized.'
                    )

    def disagreements(self, cfg: Config, value: str) -> list[str]:
        _require_fit(cfg, value)
        found = [
            f'{place.name}: {place.value}, not {wanted}'
            for place, wanted in _wanted(cfg, PROTOCOLS[value])
            if place.value != wanted
        ]
        size = PROTOCOLS[value].scored_at
        sizes = [(name, _scored_at(pipeline, name)) for name, pipeline in _scored(cfg) if size]
        return found + [
            f'{name}: ScoreAt with size={one}, not {size}' for name, one in sizes if one != size
        ]


def _require_fit(cfg: Config, value: str) -> None:
    found = _kinds(cfg)
    if found != (PROTOCOLS[value].model, PROTOCOLS[value].head):
        others = [name for name, one in PROTOCOLS.items() if found == (one.model, one.head)]
        raise ValueError(
            f'protocol={value!r} is that of {PROTOCOLS[value].source}: it is for a '
            f'{PROTOCOLS[value].model} with {PROTOCOLS[value].head}, and this config has a '
            f'{found[0]} with {found[1]}. '
            + (f'Use {" or ".join(others)}.' if others else 'Leave protocol out.')
        )


def _kinds(cfg: Config) -> tuple[str | None, str | None]:
    """The types of model and head."""
    model = cfg.get('model') or {}
    model = model.get('module') or model  # inside of a tta_model
    head = model.get('decode_head')
    several = model.get('type') == 'MultiTaskSegmentor' and not (head or {}).get('type')
    return type_name(model), 'MSAMHead' if several else type_name(head or {})


def _wanted(cfg: Config, protocol: Conventions) -> Iterator[tuple[Place, Any]]:
    """Each place that the protocol sets, with what it holds now, and its value there."""
    for rule in protocol.rules:
        for part in rule.parts:
            for name, node in _of_type(cfg.get(part), part, rule.type):
                for key, wanted in rule.values.items():
                    value = node.get(key, _default(rule.type, key))
                    yield Place(f'{name}.{key}', node, key, _plain(value)), wanted
    for name, wanted in protocol.places.items():
        *path, key = name.split('.')
        node = cfg
        for part in path:
            node = (node or {}).get(part)
        if node:  # a test has no training
            yield Place(name, node, key, node.get(key)), wanted


def _of_type(node: Any, name: str, kind: str) -> Iterator[tuple[str, dict]]:
    if isinstance(node, Mapping):
        if type_name(node) == kind:
            yield name, node
        for key, inner in node.items():
            yield from _of_type(inner, f'{name}.{key}', kind)
    elif isinstance(node, list | tuple):
        for number, inner in enumerate(node):
            yield from _of_type(inner, f'{name}.{number}', kind)


def _default(kind: str, argument: str) -> Any:
    """What a class has for an argument that is not given; None if it is passed on."""
    for registry in (METRICS, MODELS, PEFT, TASKS):
        made = find_class(registry, kind)[1]
        for one in made.__mro__ if made else ():
            found = inspect.signature(one.__init__).parameters.get(argument)
            if found is not None and found.default is not found.empty:
                return found.default
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _scored(cfg: Config) -> Iterator[tuple[str, list]]:
    """The pipelines whose samples are scored."""
    for name, pipeline in pipelines(cfg):
        if name.startswith(('val_dataloader', 'test_dataloader')):
            yield name, pipeline


def _scored_at(pipeline: list, name: str) -> tuple[int, int] | None:
    for group in groups(pipeline, name):
        for _, step in group:
            if type_name(step) == 'ScoreAt':
                return tuple(step['size'])
    return None


def _add_step(pipeline: list, size: tuple[int, int]) -> bool:
    """Adds ``ScoreAt`` after the step that loads masks, also among the steps of ``TestTimeAug``."""
    made = ConfigDict(type='ScoreAt', size=size)
    for number, step in enumerate(pipeline):
        alternatives = isinstance(step, list | tuple)
        if any(type_name(one) in LOADS_MASK for one in (step if alternatives else [step])):
            pipeline.insert(number + 1, [made] if alternatives else made)
            return True
        inner = None if alternatives else step.get('transforms')
        if inner and _add_step(inner, size):
            return True
    return False
