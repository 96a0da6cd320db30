"""What an adapter file says of the training that made it; nothing that names a machine, a folder
outside the current one, or a person."""

import datetime
import hashlib
import json
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmengine.runner import Runner

from ..adapters.recipe import without_places
from ..version import __version__
from .run_settings import run_settings

PACKAGES = ('torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'numpy')
SCORES = 'validation_scores'
"""Where the message hub, and so every checkpoint, keeps what the best checkpoints scored."""


def about_training(runner: Runner) -> dict:
    """``data`` and ``provenance`` of an adapter's header, at the beginning of a training."""
    settings = json.dumps(run_settings(runner), sort_keys=True).encode()
    name = getattr(runner.cfg, 'filename', None)
    return dict(
        data=_data(runner),
        provenance=dict(
            config=Path(name).name if name else None,
            settings_sha256=hashlib.sha256(settings).hexdigest(),
            packages={'mmsam_peft': __version__, **{name: _version(name) for name in PACKAGES}},
            protocol=runner.cfg.get('protocol'),
            seed=runner.seed,
            started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
            command=shlex.join(map(without_places, sys.argv))[:2000],
        ),
    )


def _data(runner: Runner) -> dict:
    """The numbers of images of the training and of the validation."""
    loaders = dict(train=runner.train_dataloader)
    if runner._val_dataloader is not None:
        loaders['val'] = runner.val_dataloader
    return dict(images={name: len(loader.dataset) for name, loader in loaders.items()})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def note_scores(runner: Runner, checkpoint: dict, new: Iterable[str]) -> None:
    """Keeps what the best checkpoints scored, ``metrics``, ``epoch`` and ``iter``, in the message
    hub and in the checkpoint that is being saved.

    Args:
        new: The keys in the message hub of the best checkpoints that the last validation made.
    """
    hub = runner.message_hub
    scores = dict(hub.runtime_info.get(SCORES) or {})
    for key in new:
        name = Path(hub.get_info(key)).name
        if (scores.get(key) or {}).get('checkpoint') != name:
            steps = dict(epoch=runner.epoch, iter=runner.iter)
            scores[key] = dict(checkpoint=name, metrics=_validation(runner), **steps)
    if scores:
        hub.update_info(SCORES, scores)
        checkpoint['message_hub']['runtime_info'][SCORES] = scores


def _validation(runner: Runner) -> dict[str, float]:
    """The metrics of the last validation; those that are no finite number are left out."""
    found = {
        key.removeprefix('val/'): buffer.current()
        for key, buffer in runner.message_hub.log_scalars.items()
        if key.startswith('val/')
    }
    return {
        key: float(value)
        for key, value in found.items()
        if key not in ('time', 'data_time') and abs(float(value)) < float('inf')
    }


def header_with_scores(header: dict, runner: Runner, key: str) -> dict:
    """The header of the adapter whose checkpoint has ``key`` in the message hub. The scores of the
    last adapter are those of the best validation, at whose epoch its weights were others."""
    scores = dict(runner.message_hub.runtime_info.get(SCORES) or {})
    found = scores.get(key) or next(iter(scores.values()), None)
    if not found:
        return header
    kept = {name: found[name] for name in ('metrics', 'epoch', 'iter')}
    return {**header, 'scores': {**kept, 'of_these_weights': key in scores}}
