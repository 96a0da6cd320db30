"""What a header may ask to be built. A file can come from anywhere: only model parts of this
package and of MMSegmentation are built from one, and only in sizes that a model has."""

import re

from mmengine.registry import Registry

from ..registry import MODELS, PEFT, TASKS, TRANSFORMS

HEADS = ('mmsam_peft.models.decode_heads', 'mmseg.models.decode_heads')
PARTS: dict[str, tuple[Registry, tuple[str, ...]]] = {
    'model': (MODELS, ('mmsam_peft.models.segmentors',)),
    'backbone': (MODELS, ('mmsam_peft.models.backbones',)),
    'neck': (MODELS, ('mmseg.models.necks',)),
    'decode_head': (MODELS, HEADS),
    'auxiliary_head': (MODELS, HEADS),
    'data_preprocessor': (
        MODELS,
        ('mmsam_peft.models.data_preprocessor', 'mmseg.models.data_preprocessor'),
    ),
    'peft': (PEFT, ('mmsam_peft.peft',)),
    'tasks': (TASKS, ('mmsam_peft.tasks',)),
    'pipeline': (TRANSFORMS, ('mmsam_peft.datasets.transforms', 'mmseg.datasets.transforms')),
}
"""By the key under which a part stands: its registry, and where its class has to be from."""
STEPS = {
    'LoadImageFromFile',
    'LoadImageOrArray',
    'LoadMask',
    'LoadMultiTaskLabels',
    'MultiTaskResize',
    'PackMultiTaskInputs',
    'PackSegInputs',
    'Resize',
    'ResizeShortestEdge',
    'ResizeToMultiple',
}
"""The steps of a test pipeline: they read one image, and change its size."""
LAYERS = {
    'norm_cfg': {'BN', 'SyncBN', 'GN', 'LN', 'LN2d'},
    'act_cfg': {'ReLU', 'LeakyReLU', 'GELU', 'SiLU', 'Sigmoid'},
    'conv_cfg': {'Conv', 'Conv2d'},
}
LEFT_OUT = re.compile(
    r'_.*|loss.*|.*checkpoint.*|pretrained|init_cfg|train_cfg|compile|custom_imports'
    r'|weighting|one_by_one|batch_augments|backend_args|file_client_args'
)
"""Keys that prediction does not need, or that read files and run programs."""
LARGEST = 2**16
PIXELS = dict.fromkeys(('scale', 'size', 'img_size', 'crop_size', 'stride', 'max_size'), 2**13)
MODULES = dict(
    depth=128,
    depths=128,
    stages=128,
    num_layers=128,
    num_hidden_layers=128,
    num_convs=64,
    num_experts=64,
)
VALUES = dict.fromkeys(('low', 'high', 'nodata'), 1e39)
"""Of the setting ``pixels``: what files hold, which sizes nothing."""
MOST = dict(num_classes=1024, num_queries=4096, scale_factor=16, **MODULES, **PIXELS, **VALUES)
"""The largest numbers under keys that say how many modules, classes or pixels there are; under any
other: ``LARGEST``."""
WINDOWS = 16
"""How often, per axis, sliding windows may cover a pixel."""
LONGEST = 1024
"""Entries of a list, and characters of a text."""
IMPORTING = re.compile('megatron|eva_|corda|runtime|_path|revision|mapping', re.IGNORECASE)
"""Settings by which Hugging Face's package reads files or imports modules."""
PLACE = re.compile(r'^([/\\~]|[A-Za-z]:[/\\])|\.\.[/\\]|://')
"""Texts that name a place of one machine."""


class NotAllowedError(ValueError):
    """What a header asks for is not built; the message says what."""


def find_class(registry: Registry | None, name: str) -> tuple[str, type | None]:
    """The bare name and the class that a registry or its parents have for a name with or without
    our scope. ``Registry.get`` would import whatever module the name spells."""
    bare, node = name.removeprefix(f'{PEFT.scope}.'), registry
    while node is not None:
        if bare in node.module_dict:
            return bare, node.module_dict[bare]
        node = node.parent
    return name, None


def require_allowed(model: object, pipeline: object) -> None:
    """Looks at a model's config and a test pipeline, plain data; imports and builds nothing.

    Raises:
        NotAllowedError: A type that is no model part of this package or of MMSegmentation's, such
            as a user's own; a setting that reads files or runs programs; a place on a disk or in a
            network; a size that no model has.
    """
    _require_part(model, 'model')
    _walk(model, 'model')
    _require_windows(model.get('test_cfg') or {})
    if not isinstance(pipeline, list) or not 2 <= len(pipeline) <= 16:
        raise NotAllowedError('its test pipeline is no list of steps')
    for step in pipeline:
        _require_part(step, 'pipeline')
        if step['type'] not in STEPS:
            raise NotAllowedError(f'its test pipeline has the step {_said(step["type"])}')
        _walk(step, 'pipeline')


def _require_windows(test_cfg: object) -> None:
    mode = test_cfg.get('mode', 'whole') if isinstance(test_cfg, dict) else None
    if mode == 'slide':
        crop, stride = (_pair(test_cfg.get(key)) for key in ('crop_size', 'stride'))
        if not crop or not stride:
            raise NotAllowedError('its windows have no crop_size and stride, in pixels')
        if any(size > WINDOWS * step for size, step in zip(crop, stride, strict=True)):
            raise NotAllowedError(f'its windows cover each pixel more than {WINDOWS} times an axis')
    elif mode != 'whole':
        raise NotAllowedError(f'its test_cfg has the mode {_said(mode)}')


def _pair(value) -> list[int] | None:
    pair = value if isinstance(value, list) else [value, value]
    sound = len(pair) == 2 and all(type(one) is int and one > 0 for one in pair)
    return pair if sound else None


def _require_part(value: object, key: str) -> None:
    """Whether a dict's type is registered, and its class one of those that stand under ``key``."""
    if not isinstance(value, dict) or not isinstance(value.get('type'), str):
        raise NotAllowedError(f'its {key} is no config with a type')
    registry, places = PARTS[key]
    name, kind = find_class(registry, value['type'])
    if kind is None:
        raise NotAllowedError(
            f'its {key} is {_said(name)}, which neither this version of mmsam_peft nor '
            'MMSegmentation has'
        )
    if not f'{kind.__module__}.'.startswith(tuple(f'{place}.' for place in places)) and not (
        key == 'pipeline' and kind.__module__.startswith('mmcv.transforms')
    ):
        raise NotAllowedError(
            f'its {key} is {_said(name)} of {_said(kind.__module__)}, which is no {key} of '
            'mmsam_peft or MMSegmentation'
        )


def _walk(value: object, key: str, tuner: bool = False) -> None:
    """Looks at everything below a config that stands under ``key``; ``tuner``: whether Hugging
    Face's package gets it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if LEFT_OUT.fullmatch(name) and inner is not None or tuner and IMPORTING.search(name):
                raise NotAllowedError(f'its {key} sets {_said(name)}')
            _require_known(inner, name)
            _walk(inner, name, tuner or key == 'peft' and name == 'config')
    elif isinstance(value, list):
        if len(value) > LONGEST:
            raise NotAllowedError(f'its {key} lists {len(value):,} things, more than {LONGEST:,}')
        for inner in value:
            _require_known(inner, key)
            _walk(inner, key, tuner)
    elif isinstance(value, str):
        if len(value) > LONGEST or PLACE.search(value) and key != 'classes':
            raise NotAllowedError(f'its {key} is a long text, or names a file or an address')
    elif isinstance(value, int | float) and abs(value) > MOST.get(key, LARGEST):
        limit = MOST.get(key, LARGEST)
        raise NotAllowedError(
            f'its {key} is {_said(value)}, and {limit:,} is the most that is built'
        )


def _require_known(value: object, key: str) -> None:
    """Types stand only where a part of a model stands."""
    if key in PARTS and key != 'pipeline':
        for part in value if isinstance(value, list) else [value] if value is not None else []:
            _require_part(part, key)
    elif isinstance(value, dict) and 'type' in value and value['type'] not in LAYERS.get(key, ()):
        raise NotAllowedError(f'its {key} is {_said(value["type"])}')


def _said(value: object) -> str:
    return repr(value)[:60]


def without(value):
    """Plain data without the keys that a header leaves out."""
    if isinstance(value, dict):
        return {key: without(item) for key, item in value.items() if not LEFT_OUT.fullmatch(key)}
    return [without(item) for item in value] if isinstance(value, list) else value
