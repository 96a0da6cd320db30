"""What an exported file says of itself, as JSON under the key ``mmsam_peft``."""

import json
import os
from pathlib import Path

from torch import Tensor, nn

from ...adapters.recipe import base_weights, plain
from ...models.segmentors import MultiTaskSegmentor, PEFTSegmentor
from ...version import __version__
from ..from_header import header_of
from .network import Network

KEY = 'mmsam_peft'
FORMAT = 1


def description(
    network: Network,
    model: nn.Module,
    weights: str | os.PathLike | None,
    merged: bool,
    int8: bool,
) -> dict:
    """What a file of ``network``, which was made of ``model``, says.

    ``kind``: 'binary', 'multi-class' or 'tasks'; ``classes``, ``palette`` (RGB); ``threshold`` of
    the object's probability, of a binary model; ``outputs`` by name, with the kind, classes and
    palette of each task. ``preprocessing``: ``inside`` and ``resize`` say what the file does, the
    rest what to do where it does not. ``base``: name and licence of the base weights.
    ``adapter``: name, SHA-256 and method of the adapter, and whether it was merged.
    """
    return dict(
        format=FORMAT,
        version=__version__,
        **_answers(network),
        preprocessing=_preprocessing(network),
        base=base_weights(model) if isinstance(model, PEFTSegmentor) else None,
        adapter=_adapter(model, weights, merged),
        int8=int8,
    )


def _answers(network: Network) -> dict:
    model, meta = network.model, getattr(network.model, 'dataset_meta', None) or {}
    if isinstance(model, MultiTaskSegmentor):
        tasks = {name: _task(model.tasks[name]) for name in network.tasks}
        return dict(kind='tasks', tasks=tasks, outputs=network.names)
    binary = model.out_channels == 1
    return dict(
        kind='binary' if binary else 'multi-class',
        classes=plain(meta.get('classes')),
        palette=plain(meta.get('palette')),
        threshold=float(model.decode_head.threshold) if binary else None,
        outputs=network.names,
    )


def _task(task: object) -> dict:
    """Kind, and what it has of channels of values, classes and colours."""
    palette = getattr(task, 'palette', None)
    return dict(
        type=type(task).__name__,
        channels=task.label_channels,
        unit=task.unit,
        classes=plain(getattr(task, 'classes', None)),
        palette=None if palette is None else [list(map(int, colour)) for colour in palette],
    )


def _preprocessing(network: Network) -> dict:
    def listed(values: Tensor) -> list[float]:
        return [round(float(value), 6) for value in values.flatten()]

    normalised = network.normalised
    return dict(
        inside=network.preprocessing,
        resize='inside' if network.resize else 'outside',
        channels='RGB' if network.rgb or network.preprocessing else 'BGR',
        network_channels='RGB' if network.rgb else 'BGR',
        mean=listed(network.mean) if normalised else None,
        std=listed(network.std) if normalised else None,
        pad_value=network.pad_value,
        pixels=plain(network.model.cfg.test_pipeline[0].get('pixels')),
        **network.geometry.described(),
    )


def _adapter(model: nn.Module, weights: str | os.PathLike | None, merged: bool) -> dict | None:
    if weights is None or not isinstance(model, PEFTSegmentor):
        return None
    try:
        header = header_of(weights)[0]
    except ValueError:  # a checkpoint of an earlier version
        header = {}
    return dict(
        name=Path(weights).name,
        sha256=header.get('sha256'),
        method=(header.get('peft') or {}).get('type'),
        merged=merged,
        scores=header.get('scores'),
    )


def as_text(found: dict) -> str:
    return json.dumps(found)
