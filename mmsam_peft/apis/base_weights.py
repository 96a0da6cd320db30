"""Finding the weights that an adapter was trained on."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ..adapters.recipe import ASSET
from ..safe_load import ASSETS

VARIABLE = 'MMSAM_PEFT_WEIGHTS'
"""The environment variable with folders of base weights, separated as in PATH."""
SUFFIXES = ('.pth', '.pt', '.safetensors', '.bin')
SLACK = 2**26
"""Bytes that a file of base weights may have beside the encoder: SAM's decoders take 17 MB."""


def weight_folders(weights: str | os.PathLike) -> list[Path]:
    """Where base weights are looked for, the first first: ``MMSAM_PEFT_WEIGHTS``, beside the
    adapter, PyTorch's cache, in which downloads lie, and MMEngine's."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache')
    mmengine = Path(os.environ.get('MMENGINE_HOME') or cache / 'mmengine')
    named = [Path(place) for place in os.environ.get(VARIABLE, '').split(os.pathsep) if place]
    known = [Path(weights).parent, Path(torch.hub.get_dir(), 'checkpoints')]
    places = [*named, *known, mmengine / 'checkpoints', mmengine]
    return list(dict.fromkeys(place.expanduser().absolute() for place in places))


def base_candidates(weights: str | os.PathLike, base: dict, frozen_numbers: int) -> Iterator[str]:
    """What may be the base of the adapter ``weights``: files, or folders, of its name, also as our
    downloads are called; then other files of a likely size; then what SAM's authors publish.

    Args:
        base: The header's ``base_weights``.
        frozen_numbers: How many numbers its frozen weights have.
    """
    name = base['name']
    if name.startswith(ASSET) and (ASSETS / f'{name.removeprefix(ASSET)}.safetensors').is_file():
        yield name
    entries = [entry for folder in weight_folders(weights) for entry in _entries(folder)]
    own = Path(weights).absolute()
    named = [path for path in entries if path.name == name or _downloaded(path.name, name)]
    likely = [
        path
        for path in entries
        if frozen_numbers  # else nothing tells one file from another
        and path not in named
        and path != own
        and path.suffix in SUFFIXES
        and path.is_file()
        and 2 * frozen_numbers <= path.stat().st_size <= 4 * frozen_numbers + SLACK
    ]
    yield from map(str, [*named, *likely])
    if base.get('published'):
        yield 'published'


def _downloaded(found: str, name: str) -> bool:
    """Whether a file has the name under which ``safe_load`` keeps a download."""
    return found.endswith(f'-{name}') and len(found) == len(name) + 9


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    except OSError:  # not there, or closed
        return []


def how_to_get(weights: str | os.PathLike, header: dict, tried: list[str]) -> str:
    """The sentences that say which base weights are missing, and what to do."""
    base = header.get('base_weights')
    if base is None:
        return (
            f'{weights} was trained on frozen weights that were random, or whose name it does not '
            'know. Give them by --checkpoint PATH (checkpoint=PATH), or use a .pth checkpoint of '
            'the same training, which holds them.'
        )
    licence = f', {base["licence"]}' if base.get('licence') else ''
    looked = ', '.join(map(str, weight_folders(weights)))
    faults = f' Not they: {"; ".join(tried[:5])}.' if tried else ''
    return (
        f'{weights} needs the base weights that it was trained on, {base["name"]}{licence} '
        f'(hash {header["base"][:16]}), under whatever name. They are not in {looked}.{faults} '
        f'Give their path by --checkpoint PATH (checkpoint=PATH), put them beside the adapter, or '
        f'name their folder in the environment variable {VARIABLE}.'
    )
