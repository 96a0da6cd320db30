"""What an adapter file says so that the model can be built from the file alone: its recipe."""

import json
import re
from pathlib import Path
from urllib.parse import urlparse

from mmengine.config import ConfigDict
from torch import nn

from ..hub import SCHEME, name_of
from .allowed import NotAllowedError, require_allowed, without

ASSET = 'mmsam_peft://'
DISK = re.compile(
    r"""(?<![\w./\\~-])(?:~[^\s/\\,'"\]\)]*|[A-Za-z]:|\.\.)?[\\/][^\s,'"\]\)]*|~[^\s/\\,'"\]\)]+"""
)

PLACE = re.compile(r"""((?:[\w.-]+=)?)((?:~|\.\.[\\/]|[\\/]|[A-Za-z]:[\\/])[^:,'"\n]*)""")
"""A text that is nothing but a place, or an option with one: spaces belong to it."""


def recipe(model: nn.Module, config: dict | None) -> dict:
    """``recipe`` of a header: config of the model without what only training needs, test pipeline,
    ``pixels`` of the config; or None, and ``needs_config``, which says why the file does not
    suffice.

    Args:
        model: A ``PEFTSegmentor``.
        config: The whole config, which has the test pipeline.
    """
    try:
        made = dict(model=_model(model), pipeline=_pipeline(config))
        require_allowed(**made)
    except (NotAllowedError, TypeError) as error:
        return dict(recipe=None, needs_config=without_places(str(error)))
    pixels = (config or {}).get('pixels')
    return dict(recipe={**made, 'pixels': plain(pixels)})


def base_weights(model: nn.Module) -> dict | None:
    """What the frozen weights are called, so that they can be found again; None where they were
    random."""
    checkpoint = str(model.checkpoint or model.backbone.checkpoint or '')
    if not checkpoint:
        return None
    name = checkpoint if checkpoint.startswith(ASSET) else _name(checkpoint)
    variant = model.variant
    published = variant is not None and checkpoint == variant.address
    # gated weights have their licence wherever the file lies: nobody else gives them away
    licensed = published or variant is not None and variant.gated
    return dict(name=name, published=published, licence=variant.licence if licensed else None)


def _name(checkpoint: str) -> str:
    if checkpoint.startswith(SCHEME):
        return name_of(checkpoint)
    return Path(urlparse(checkpoint).path).name


def _model(model: nn.Module) -> dict:
    made_of = model.made_of
    if 'tasks' in made_of:  # which tell the head its channels
        head = {key: value for key, value in made_of['decode_head'].items() if key != 'channels'}
        made_of = {**made_of, 'decode_head': head}
    return without(plain({'type': type(model).__name__, **made_of}))


def _pipeline(config: dict | None) -> list[dict]:
    if config is None:
        raise NotAllowedError('it was saved without a config, which says how images are read')
    steps = config.get('test_pipeline')
    if steps is None:
        loader = config.get('test_dataloader') or {}
        steps = (loader.get('dataset') or {}).get('pipeline')
    if not steps:
        raise NotAllowedError('its config has no test_pipeline, which says how images are read')
    kept = [step for step in without(plain(steps)) if step.get('type') != 'LoadAnnotations']
    return with_antialias(kept, True)


def with_antialias(steps: list[dict], antialias: bool) -> list[dict]:
    """Steps that say how they resize. Earlier versions resized without antialiasing, and their
    files say nothing."""
    return [
        {**step, 'antialias': step.get('antialias', antialias)} if _resizes(step) else step
        for step in steps
    ]


def _resizes(step: dict) -> bool:
    return step.get('type') in ('Resize', 'MultiTaskResize')


def plain(value):
    """Configs as JSON gives them back; classes by their names. TypeError for anything else."""
    value = value.to_dict() if isinstance(value, ConfigDict) else value
    return json.loads(json.dumps(value, default=_name_of))


def _name_of(value) -> str:
    if not isinstance(value, type):
        raise TypeError(
            f'A config holds a {type(value).__name__}, which an adapter file cannot name: '
            'use numbers, texts, lists and dicts.'
        )
    return value.__name__


def without_places(text: str) -> str:
    """A text in which files and folders outside the current one have their names only: a file that
    is shared says nothing of where, or by whom, it was made."""
    if whole := PLACE.fullmatch(text):
        return whole[1] + _name_in(whole[2])
    return DISK.sub(lambda found: _name_in(found[0]), text)


def _name_in(place: str) -> str:
    """Of a file or folder; none of the folder of a person."""
    above, name = ['', *re.split(r'[\\/]+', place.rstrip('\\/'))][-2:]
    return '...' if not name or name[0] == '~' or above in ('home', 'Users') else name
