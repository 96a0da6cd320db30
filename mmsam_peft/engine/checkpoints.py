"""The checkpoints in a work directory: which of them training can go on from, and the names they
have inside each other."""

import math
import os
import re
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch

INTERRUPTED = 'interrupted.pth'
"""What a training saves that is asked to end in the middle of an epoch."""
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')
RESULTS = re.compile(
    r'((epoch|iter|best)_.*|interrupted)\.pth|adapter_.*\.safetensors|last_checkpoint|baselines\.json'
)
"""What a training leaves in its work directory, besides logs."""


def training_states(folder: Path, template: str | None = None) -> list[Path]:
    """The files in ``folder`` that are named as checkpoints of a training; ``template`` is one more
    way to name them."""
    patterns = [
        re.escape(one).replace(r'\{\}', r'\d+') for one in {*TEMPLATES, template or TEMPLATES[0]}
    ]
    name = re.compile('|'.join([*patterns, re.escape(INTERRUPTED)]))
    return sorted(
        path for path in Path(folder).glob('*.pth') if name.fullmatch(path.name) and path.is_file()
    )


def progress(path: Path) -> int:
    """After how many iterations the checkpoint was saved. Reads next to nothing of it.

    Raises:
        ValueError: It is damaged, or training cannot go on from it; the message begins with 'it'.
    """
    try:
        content = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except Exception as error:  # damaged bytes fail in a dozen ways
        raise ValueError(
            f'it cannot be read ({type(error).__name__}: {error})'.split('\n')[0][:200]
        ) from None
    if fault := why_not_resumable(content):
        raise ValueError(fault)
    return content['meta']['iter']


def why_not_resumable(content: dict) -> str | None:
    """What a loaded checkpoint lacks for training to go on from it."""
    meta = content.get('meta') if isinstance(content, dict) else None
    steps = [meta.get(key) for key in ('epoch', 'iter')] if isinstance(meta, dict) else [None]
    if not all(type(step) is int and step >= 0 for step in steps):
        return 'it does not say after which epoch and iteration it was saved'
    if not all(
        isinstance(content.get(key), dict) for key in ('optimizer', 'message_hub', 'state_dict')
    ):
        return 'it has no state of the optimizer'
    return None


def newest_checkpoint(
    folder: Path, template: str | None = None
) -> tuple[Path | None, dict[str, str]]:
    """The checkpoint in ``folder`` with the most iterations that is whole, and the names of those
    left aside, with reasons."""
    found, faults = {}, {}
    for path in training_states(folder, template):
        try:
            found[path] = progress(path)
        except ValueError as error:
            faults[path.name] = str(error)
    for path in sorted(
        found, key=lambda path: (found[path], path.name == INTERRUPTED), reverse=True
    ):
        if not (damaged := _damaged_part(path)):
            return path, faults
        faults[path.name] = f'its part {damaged} is damaged'
    return None, faults


def set_aside(folder: Path, paths: Iterable[Path]) -> Path:
    """Moves files into a new folder ``previous/DATE`` of ``folder``; returns that folder."""
    start = Path(folder) / 'previous' / time.strftime('%Y%m%d_%H%M%S')
    place, number = start, 1
    while place.exists():
        place, number = start.with_name(f'{start.name}_{number}'), number + 1
    place.mkdir(parents=True)
    for path in paths:
        os.replace(path, place / path.name)
    return place


def names_only(info: dict, folder: Path) -> dict:
    """A copy of a message hub's ``runtime_info`` without the folders of checkpoints: names hold in
    a copied or moved work directory too."""
    return {
        key: Path(value).name
        if _names_a_file(key) and isinstance(value, str | os.PathLike)
        else value
        for key, value in info.items()
    }


def resolve_names(info: dict, folder: Path) -> list[str]:
    """Makes paths in ``folder`` of the names in ``runtime_info``, in place, and drops what MMEngine
    must not act upon: it would remove ``best_ckpt`` and the ``keep_ckpt_ids``, whatever they are.
    Returns what was dropped, and why."""
    dropped = []
    for key in [key for key in info if _names_a_file(key)]:
        name = Path(info[key]).name if isinstance(info[key], str) else ''
        path = Path(folder) / name
        expected = re.fullmatch(
            r'best_.+\.pth' if key.startswith('best_ckpt') else r'.+\.pth', name
        )
        if expected and path.is_file() and not path.is_symlink():
            info[key] = str(path)
            continue
        value = info.pop(key)
        if key != 'last_ckpt':
            dropped.append(f'{key} {str(value)[:200]!r} is no checkpoint in {folder}')
            kept = (
                Path(folder)
                / f'{key.replace("best_ckpt", "adapter_best").replace("/", "_")}.safetensors'
            )
            if not kept.is_file():  # what scored so well is gone
                info.pop(key.replace('best_ckpt', 'best_score'), None)
    for key in [key for key in info if str(key).startswith('best_score')]:
        if isinstance(info[key], torch.Tensor) and info[key].numel() == 1:
            info[key] = info[key].item()
        if type(info[key]) not in (int, float) or not math.isfinite(info[key]):
            dropped.append(f'{key} {str(info.pop(key))[:200]!r} is no number')
    kept = info.get('keep_ckpt_ids', [])
    if not isinstance(kept, list) or not all(type(step) is int and step >= 0 for step in kept):
        dropped.append(
            f'keep_ckpt_ids {str(info.pop("keep_ckpt_ids"))[:200]!r} are no epochs or iterations'
        )
    return dropped


def outdated_best(folder: Path, best: Path) -> list[Path]:
    """The best checkpoints by the same metric of earlier epochs or iterations, which a killed
    process left beside ``best``."""

    def parts(path: Path) -> tuple[str, int] | None:
        match = re.fullmatch(r'(best_.+_)(\d+)\.pth', path.name)
        return match and (match[1], int(match[2]))

    own = parts(best)
    if not own:
        return []
    others = [
        (path, parts(path))
        for path in Path(folder).glob('best_*.pth')
        if path.is_file() and not path.is_symlink()
    ]
    return [path for path, other in others if other and other[0] == own[0] and other[1] < own[1]]


def _names_a_file(key) -> bool:
    return isinstance(key, str) and (key.startswith('best_ckpt') or key == 'last_ckpt')


def _damaged_part(path: Path) -> str | None:
    """The first part of a checkpoint whose bytes have changed: PyTorch does not compare
    checksums."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        return str(error)
