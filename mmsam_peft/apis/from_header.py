"""From an adapter file, or a checkpoint with a header, to a config: no other file is needed."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import nn

from ..adapters.allowed import NotAllowedError, require_allowed
from ..adapters.file import read_adapter
from ..adapters.frozen import frozen_weights
from ..adapters.header import ADAPTER, parse_header
from ..adapters.match import OtherBaseError, adapter_names
from ..adapters.recipe import with_antialias
from ..hub import SCHEME
from ..layers.storage import numbers, shape
from ..registry import MODELS, SCOPE
from ..safe_load import local_weights
from .base_weights import base_candidates, how_to_get

WEIGHTS = ('.safetensors', '.pth', '.pt')
"""Endings by which files of weights differ from configs."""
MOST_NUMBERS = 4_000_000_000
"""Of a model that is built from a header, 16 GB; SAM's largest has 641 million."""
Made = TypeVar('Made')


def is_weights(path: object) -> bool:
    """Whether a name is that of an adapter file or checkpoint, rather than that of a config."""
    if not isinstance(path, str | os.PathLike):
        return False
    return str(path).startswith(SCHEME) or Path(path).suffix.lower() in WEIGHTS


def header_of(path: str | os.PathLike) -> tuple[dict, dict[str, torch.Size]]:
    """The header of an adapter file or a ``.pth`` checkpoint, and the shapes of its tensors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no header, is damaged, or malformed.
    """
    path = local_weights(path)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no file {path}; training writes adapter_best.safetensors and '
            'adapter_last.safetensors into its work directory.'
        )
    if Path(path).suffix.lower() == '.safetensors':
        tensors, metadata = read_adapter(path)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return parse_header(metadata[ADAPTER], path), shapes
    try:
        content = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
        text, tensors = content['meta'][ADAPTER], content['state_dict']
        shapes = {name: getattr(tensor, 'shape', None) for name, tensor in tensors.items()}
    except Exception as error:  # damaged bytes fail in a dozen ways
        raise ValueError(
            f'{path} has no header of mmsam_peft, or cannot be read ({type(error).__name__}): it '
            'is of an earlier version, or of another program. Give the config it was trained with '
            'before it; base weights are given by --checkpoint PATH.'
        ) from None
    return parse_header(text, path), shapes


def config_from_header(path: str | os.PathLike, header: dict) -> Config:
    """A config that predicts as the one of the training did, without base weights. Types are looked
    up among the parts of models, and never imported.

    Raises:
        ValueError: The file is of an earlier version; or its model has parts that only its config
            knows; or it asks for what is no part of a model.
    """
    made = header.get('recipe')
    if made is None:
        reason = header.get('needs_config') or 'an earlier version of mmsam_peft wrote it'
        raise ValueError(
            f'{path} does not suffice without a config: {reason[:500]}. Give the config that it '
            'was trained with before it (CONFIG WEIGHTS; init_model(config, weights)).'
        )
    try:
        require_allowed(made.get('model'), made.get('pipeline'))
    except NotAllowedError as error:
        raise ValueError(
            f'{path} is not built from its header: {error}. If you trust its source, use it with '
            'the config that it was trained with (CONFIG WEIGHTS).'
        ) from None
    steps = with_antialias(made['pipeline'], False)
    model, pipeline = made['model'], [_tuples(step) for step in steps]
    for part in ('test_cfg', 'data_preprocessor'):
        if model.get(part):
            model = {**model, part: _tuples(model[part])}
    config = dict(
        default_scope=SCOPE,
        model={**model, 'checkpoint': None},
        test_pipeline=pipeline,
        test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        visualizer=dict(type='SegLocalVisualizer', name='visualizer'),
    )
    if made.get('pixels') is not None:
        config['pixels'] = made['pixels']
    return Config(config)


def _tuples(value):
    """As configs have sizes; some transforms take no lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def skeleton(path: str | os.PathLike, config: Config, shapes: dict | None) -> nn.Module:
    """The model without memory for its weights.

    Raises:
        ValueError: It cannot be built, is larger than models are, or has not the tensors of the
            file.
    """
    init_default_scope(SCOPE)
    try:
        with torch.device('meta'):
            model = MODELS.build(config.model)
    except ImportError:  # an optional package, which the message names
        raise
    except Exception as error:  # settings that a class does not take fail in a dozen ways
        raise ValueError(
            f'{path}: the model of its header cannot be built ({type(error).__name__}: '
            f'{str(error)[:300]}). The file may be of another version of mmsam_peft: upgrade, or '
            'give the config that it was trained with.'
        ) from error
    count = sum(numbers(parameter) for parameter in model.parameters())
    if count > MOST_NUMBERS:
        raise ValueError(
            f'{path} asks for a model of {count:,} numbers; {MOST_NUMBERS:,} is the most that is '
            'built from a header.'
        )
    own = {name: shape(value) for name, value in model.state_dict(keep_vars=True).items()}
    expected = {name: own[name] for name in adapter_names(model)}
    if shapes is not None and shapes != expected:
        names = sorted(shapes.keys() ^ expected.keys()) or [
            name for name in sorted(shapes) if shapes[name] != expected[name]
        ]
        raise ValueError(
            f'{path} does not hold the tensors of the model in its header, such as {names[0]}: '
            'another version of mmsam_peft made it, or another program. Give the config that it '
            'was trained with.'
        )
    return model


def frozen(model: nn.Module) -> dict[str, int]:
    """What of the adapted parts no training changes: how many numbers, by name."""
    return {
        prefix + name: numbers(value)
        for prefix, (host, method) in model.adapted.items()
        for name, value in frozen_weights(host, method).items()
    }


def build_from_header(
    path: str | os.PathLike,
    build: Callable[[Config], Made],
    checkpoint: str | None = None,
    base: bool = False,
) -> Made:
    """What ``build`` makes of the file's config on the first base weights that are those of its
    training; see ``base_candidates``. A ``.pth`` checkpoint may hold them itself.

    Args:
        checkpoint: The base weights, in place of a search.
        base: Also look for those of a ``.pth``, which lacks SAM's prompt encoder.

    Raises:
        FileNotFoundError: No such file; no base weights.
        ValueError: See :func:`header_of`, :func:`config_from_header` and :func:`skeleton`; the
            ``checkpoint`` is another base.
    """
    path = local_weights(path)
    header, shapes = header_of(path)
    config, named = config_from_header(path, header), header.get('base_weights')
    is_adapter = Path(path).suffix.lower() == '.safetensors'
    counts = frozen(skeleton(path, config, shapes if is_adapter else None))
    needed = bool(counts.keys() - shapes.keys())
    if checkpoint or not needed and not (base and named):
        config.model.checkpoint = checkpoint
        return build(config)
    tried = []
    for candidate in base_candidates(path, named, sum(counts.values())) if named else []:
        config.model.checkpoint = candidate
        try:
            made = build(config)
        except OtherBaseError as error:
            tried.append(f'{candidate} ({" ".join(str(error).split())[:160]})')
            continue
        except FileNotFoundError as error:  # a download without a network
            raise FileNotFoundError(f'{how_to_get(path, header, tried)} {error}') from error
        if not candidate.endswith(named['name']) and candidate != 'published':
            print_log(f'Base weights of {path}: {candidate}', 'current', level=logging.INFO)
        return made
    raise FileNotFoundError(how_to_get(path, header, tried))
