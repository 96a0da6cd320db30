"""What of a config fits a device's memory: ways to train it, counted, with the fastest first."""

import copy
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from math import ceil

import torch
from mmengine.config import Config

from ..models.backbones import SAMViT
from ..registry import MODELS, PEFT
from .training_step import build, count_step

GPU_OVERHEAD = 600e6
"""Bytes of a GPU that no tensor holds: CUDA's context, the workspaces of cuBLAS and cuDNN. What is
usual; not measured here."""
CPU_OVERHEAD = 500e6
"""Bytes of a process on a CPU that no tensor holds: what is imported takes 0.42 GB."""
MMAP = 'MALLOC_MMAP_THRESHOLD_=4194304'
"""By which glibc gives back what is freed: a process else keeps up to twice as much as its
tensors ever take together (docs/speed.md)."""
SLACK = 1.05
"""What an allocator loses between tensors, as a factor. What is usual; not measured here."""
UNITS = {'M': 1e6, 'G': 1e9, 'T': 1e12, 'MI': 2**20, 'GI': 2**30, 'TI': 2**40}
BACKBONE = 'model.backbone'
METHOD = 'the method: fewer updates'
LATE = 3
"""Late placement adapts one in so many blocks, the last."""


@dataclass(frozen=True)
class Way:
    """A way to train a config: what it is called, the options that make it, and what they change
    of the result."""

    name: str
    options: dict[str, object] = field(default_factory=dict)
    changes: str = 'nothing'
    cached: bool = False


@dataclass(frozen=True)
class Fit:
    """A way with the largest batch that fits, 0 where none does; ``peak`` in bytes, of this batch
    or of one image; ``time`` of an image, by operations, those of the config as it is being 1."""

    way: Way
    batch: int
    peak: float
    time: float
    stand_in: bool


def read_bytes(text: str) -> float:
    """'8G', '8GB', '7.5GiB', '800M' in bytes; G is 10^9. ValueError for anything else."""
    found = re.fullmatch(r'\s*([0-9]*\.?[0-9]+)\s*([MGT]I?)B?\s*', text.upper())
    if not found or float(found[1]) <= 0:
        raise ValueError(f'memory={text!r}: expected a size such as 8G, 7.5GiB or 800M.')
    return float(found[1]) * UNITS[found[2]]


def ways(cfg: Config) -> Iterator[Way]:
    """What may be changed of a config to save memory; what its encoder or method does not take is
    left out."""
    backbone = cfg.model.backbone
    encoder, peft = MODELS.get(backbone.type), backbone.get('peft') or {}
    method = PEFT.get(peft['type']) if peft else None
    takes = signature(encoder).parameters if encoder else {}
    in_blocks = method is not None and 'blocks' in signature(method).parameters
    checkpointing = {f'{BACKBONE}.checkpointing': True}
    if issubclass(encoder, SAMViT):  # whose subclasses pass on what it takes
        takes = {**takes, **signature(SAMViT).parameters}
    if 'checkpointing' not in takes or backbone.get('checkpointing'):
        checkpointing = {}
    yield Way('as it is')
    if checkpointing:
        yield Way('checkpointing', checkpointing)
    if 'base_dtype' in takes and method is not None and method.stores:
        for kept in ('bfloat16', 'nf4') if 'base_dtype' not in backbone else ():
            stored = {f'{BACKBONE}.base_dtype': kept}
            yield Way(f'{kept} base', stored, 'rounding')
            if checkpointing:
                both = {**stored, **checkpointing}
                yield Way(f'{kept} base, checkpointing', both, 'rounding')
    cache = {'default_hooks.feature_cache.type': 'FeatureCacheHook'}
    if in_blocks and peft.get('blocks', 'all') == 'all':
        with torch.device('meta'):
            count = ceil(build(cfg).backbone.depth / LATE)
        late = {f'{BACKBONE}.peft.blocks': f'last:{count}'}
        yield Way(f'last {count} blocks', late, METHOD)
        yield Way(f'last {count} blocks, feature cache', {**late, **cache}, METHOD, cached=True)
    elif method is not None:
        yield Way('feature cache', cache, 'augmented views repeat', cached=True)


def fits(
    cfg: Config,
    memory: float,
    gpu: bool = True,
    report: Callable[[str], None] = lambda text: None,
) -> list[Fit]:
    """Counts every way of training a config.

    Args:
        memory: Bytes of the device.
        gpu: Leave room for what a GPU holds beside tensors, else for what a process does.
        report: Is told what is being counted.

    Returns:
        Those that fit, the fastest first, then those of which not even one image fits, the smallest
        first. A way that cannot be built for this config is left out.
    """
    room = memory - (GPU_OVERHEAD if gpu else CPU_OVERHEAD)
    wanted, found, whole = cfg.train_dataloader.batch_size, [], 0.0
    for way in ways(cfg):
        report(f'counting: {way.name}')
        changed = copy.deepcopy(cfg)
        changed.merge_from_dict(way.options)
        try:
            one = count_step(changed, 1, way.cached)
            two = count_step(changed, 2, way.cached) if wanted > 1 else one
        except ValueError as error:
            if way.options:
                report(f'  not for this config: {error}')
                continue
            raise
        whole = whole or one.flops
        more = max(two.peak - one.peak, 1)
        largest = 1 + int((room / SLACK - one.peak) // more) if one.peak * SLACK <= room else 0
        batch = min(largest, wanted)
        peak = (one.peak + max(batch - 1, 0) * more) * SLACK + (memory - room)
        found.append(Fit(way, batch, peak, one.flops / whole, one.stand_in))
    return sorted(
        found,
        key=lambda fit: (not fit.batch, *((fit.time, -fit.batch) if fit.batch else (fit.peak,))),
    )


def table(found: Sequence[Fit]) -> str:
    """Markdown."""
    lines = ['| way | batch | peak, GB | time of an image | changes |', '|---|---:|---:|---:|---|']
    for fit in found:
        batch = str(fit.batch) if fit.batch else 'none fits'
        lines.append(
            f'| {fit.way.name} | {batch} | {fit.peak / 1e9:.2f} | {fit.time:.2f} '
            f'| {fit.way.changes} |'
        )
    return '\n'.join(lines)


def command(
    found: Sequence[Fit],
    config: str,
    wanted: int,
    changed: Mapping[str, object] | None = None,
    amp: str | None = None,
    accumulated: int = 1,
    gpu: bool = True,
) -> str:
    """The command line of the fastest way that fits, of those that keep the method if one does;
    what to do where none fits.

    Args:
        wanted: The batch of the config; with a smaller one, gradients are accumulated.
        changed, amp: The options that the config was counted with.
        accumulated: The batches whose gradients the config adds up already.
        gpu: Else the line begins with what keeps the memory of a process down, on Linux.
    """
    able = [fit for fit in found if fit.batch]
    if not able:
        return (
            'Nothing fits. A smaller encoder (encoder=sam_vit_b) or smaller images '
            '(image_size=512) take less.'
        )
    best = min(able, key=lambda fit: fit.way.changes == METHOD)
    options = {**(changed or {}), **best.way.options}
    if best.batch < wanted:
        options.pop('batch_size', None)
        options['train_dataloader.batch_size'] = best.batch
        counts = accumulated * ceil(wanted / best.batch)
        options['optim_wrapper.accumulative_counts'] = counts
    parts = ['python', 'tools/train.py', config, *(['--amp', amp] if amp else [])]
    if not gpu and sys.platform == 'linux':
        parts.insert(0, MMAP)
    if options:
        parts += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return shlex.join(parts)
