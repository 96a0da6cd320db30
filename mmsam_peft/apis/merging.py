"""Adapters folded into the weights: plain models, and SAM weights, which segment-anything and all
built on it loads."""

import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from safetensors.torch import save_file
from torch import Tensor

from ..adapters.frozen import kept_buffers
from ..adapters.match import ANSWERING, is_rounded, trained_names
from ..adapters.positions import is_table
from ..finite import require_finite
from ..models.backbones.checkpoints import read_checkpoint
from ..models.backbones.sam_keys import SAM
from ..models.decode_heads import SAMMaskHead
from ..models.segmentors import PEFTSegmentor
from ..peft.base import Mergeable
from ..peft.per_task import PerTaskLinear, PerTaskMethod
from ..registry import MODELS
from ..whole_files import whole_file

TOLERANCE = 1e-4
"""Largest relative difference between merged and unmerged model; merging in float32 rounds at about
1e-6."""
MASK_TOKENS = 'mask_decoder.mask_tokens.weight'
PROMPTS = 'decode_head.no_mask_embed.weight'


def merged_model(
    model: PEFTSegmentor, task: str | None = None, share: float = 1.0
) -> PEFTSegmentor:
    """A plain model that predicts the same, without a trace of the fine-tuning methods: their
    updates are in its weights.

    Weights that no update belongs to are the very tensors of ``model``, which stays as it is; but
    those that ``base_dtype`` stores in fewer bits become float32, as merged ones have to be.

    Args:
        model: As ``init_model`` makes it; its ``cfg`` is its config.
        task: Where the method adapts the encoder for each task, whose model to make; it has no
            other task.
        share: Of the updates, from 0 for the base to 1: less of what was tuned and more of what the
            base knew. The decode head stays as it was trained.

    Raises:
        ValueError: A method does not merge fully; no such task; no such share.
    """
    merged = merged_parameters(model, task, share)
    state, cfg = {**float_state(model), **merged}, model.cfg.model.to_dict()
    cfg.update(checkpoint=None)
    cfg['backbone'].update(peft=dict(type='Frozen'), unfreeze=())
    cfg['backbone'].pop('base_dtype', None)
    if getattr(model.decode_head, 'peft', None):
        cfg['decode_head'].update(peft=None)
    number = task_number(model, task)
    if number is not None:
        cfg.update(tasks=[cfg['tasks'][number]], weighting=None)
        state[PROMPTS] = state[PROMPTS].split(list(model.decode_head.channels.values()))[number]
    with torch.device('meta'):
        plain = MODELS.build(ConfigDict(cfg))
    plain.load_state_dict({name: state[name] for name in plain.state_dict()}, assign=True)
    plain.data_preprocessor, plain.cfg, plain.dataset_meta = (
        model.data_preprocessor,
        model.cfg,
        model.dataset_meta,
    )
    return plain.requires_grad_(False).eval()


def float_state(model: PEFTSegmentor) -> dict[str, Tensor]:
    """The state dict; in float32, where ``base_dtype`` stores some of it in fewer bits, and all of
    it where the model is."""
    state = model.state_dict()
    if not is_rounded(model):
        return state
    device = next(model.parameters()).device
    return {
        name: value.to(device, torch.float32) if value.is_floating_point() else value
        for name, value in state.items()
    }


def merged_parameters(
    model: PEFTSegmentor, task: str | None = None, share: float = 1.0
) -> dict[str, Tensor]:
    """The base parameters that merging changes, with the updates in them, by name; the model stays
    as it is.

    Raises:
        ValueError: A method does not merge fully; no such task or share; a merged number is NaN or
            infinite.
    """
    if not 0 <= share <= 1:
        raise ValueError(f'got {share} of the update to merge: expected a share from 0 to 1.')
    values, number = {}, task_number(model, task)
    for prefix, (host, method) in model.adapted.items():
        if method.merges != 'fully':
            extent = 'merges only in part' if method.merges == 'in part' else 'does not merge'
            raise ValueError(
                f'{type(method).__name__} {extent}: what it adds has no place in plain SAM '
                'weights. Use the '
                'adapter file with its config, or train a method that merges fully, such as LoRA.'
            )
        for name, layer in host.named_modules():
            if isinstance(layer, Mergeable):
                twin = copy.deepcopy(layer)
                if isinstance(twin, PerTaskLinear) and number is not None:
                    twin.merge(number)
                else:
                    twin.merge()
                for key, base in twin.unmerged.items():
                    value = twin.get_parameter(key).detach()
                    value = value if share == 1 else torch.lerp(base, value, share)
                    values[f'{prefix}{name}.{key}'] = value
    require_finite(
        values,
        'The merged model',
        'The adapter is broken, or the base weights are. Use an earlier adapter.',
    )
    return values


def merged_sam_state(model: PEFTSegmentor, task: str | None = None) -> dict[str, Tensor]:
    """The model's weights, the fine-tuning methods' updates folded in, under the names of the
    encoder's authors (SAM's, or SAM 2's); the model stays as it is.

    What the model lacks (prompt encoder, further mask tokens, IoU head) is the base checkpoint's,
    as are frozen position tables, which the model holds resized to its image size. A binary mask
    head becomes SAM's first mask token. Any other head has no place in SAM, as one without
    ``fine`` has none in SAM 2: the mask decoder is the base checkpoint's then.

    Args:
        task: Whose encoder to merge, where the method adapts one for each task.

    Raises:
        ValueError: A method does not merge fully; no such task; more than three channels.
    """
    channels = getattr(model.backbone, 'in_channels', 3)
    if channels > 3:
        raise ValueError(
            f'The model sees {channels} channels, and plain SAM weights have a place for three: '
            'use the adapter file with its config, such as by init_model(..., merge=True).'
        )
    state = {**float_state(model), **merged_parameters(model, task)}
    keys = getattr(model.backbone, 'keys', SAM)
    base = read_checkpoint(model.checkpoint, keys) if model.checkpoint else {}
    added = {
        prefix + name for prefix, (_, method) in model.adapted.items() for name in method.added
    }
    tables = {
        name
        for name, _ in model.named_parameters()
        if name.startswith('backbone.') and is_table(name)
    } - trained_names(model)
    parts = ('backbone.', 'decode_head.') if fits_sam_decoder(model) else ('backbone.',)
    names = {name for name, _ in model.named_parameters() if name.startswith(parts)} - added
    names |= {name for name in kept_buffers(model) if name.startswith(parts)}
    if answering := {name for name in names if name.startswith(ANSWERING)}:
        names -= answering
        print_log(
            'SAM has one mask decoder, and the file gets that of the answer without a prompt. '
            "Prompts are answered by the base's own, as in this model, with the adapter file or "
            'init_model(..., merge=True).',
            'current',
            level=logging.WARNING,
        )
    own = keys.own({name: state[name].to('cpu', copy=True) for name in names - tables})
    if MASK_TOKENS in own and MASK_TOKENS in base:
        own[MASK_TOKENS] = torch.cat([own[MASK_TOKENS], base[MASK_TOKENS][len(own[MASK_TOKENS]) :]])
    return keys.authors(
        {
            **keys.own({name: state[name].to('cpu', copy=True) for name in tables}),
            **base,
            **own,
        }
    )


def require_writable(out: Path, inputs: Iterable[str | os.PathLike | None]) -> None:
    """Raises ValueError when ``out`` is one of the files that it is made from."""
    for path in inputs:
        if (
            path
            and '://' not in str(path)
            and os.path.realpath(os.path.expanduser(path)) == os.path.realpath(out)
        ):
            raise ValueError(
                f'{out} is one of the files that it would be made from: give another name.'
            )


def write_state(state: dict[str, Tensor], out: Path) -> None:
    """Writes weights as ``.safetensors`` or ``.pth``, completely or not at all; its folder is
    made."""
    with whole_file(out) as unfinished:
        if out.suffix == '.safetensors':
            save_file(state, unfinished)
            unfinished.chmod(0o644)  # safetensors keeps its files to their owner
        else:
            with unfinished.open('wb') as file:  # given a path, torch writes its name into the file
                torch.save(state, file)


def task_number(model: PEFTSegmentor, task: str | None) -> int | None:
    """The task's number where the encoder is adapted for each task, else None. ValueError when the
    model has no such task."""
    method, tasks = model.backbone.peft, list(getattr(model, 'tasks', ()))
    per_task = isinstance(method, PerTaskMethod) and method.num_tasks > 1
    if tasks and task not in tasks and (per_task or task is not None):
        got = 'no task was given' if task is None else f'task={task!r}'
        why = 'the encoder is adapted for each task' if per_task else 'the model has no such task'
        raise ValueError(f'{got}: {why}: use one of {", ".join(tasks)} (--task).')
    return tasks.index(task) if per_task else None


def fits_sam_decoder(model: PEFTSegmentor) -> bool:
    """Whether the mask decoder that belongs to the encoder, SAM's or SAM 2's, which reads finer
    maps, can hold the model's head. No other can."""
    head, fine = model.decode_head, not getattr(model.backbone, 'single_map', True)
    if not getattr(model.backbone, 'sam_decoder', True):
        return False
    return isinstance(head, SAMMaskHead) and head.class_head is None and head.fine == fine


@torch.no_grad()
def verify_merge(model: PEFTSegmentor, state: dict[str, Tensor], task: str | None = None) -> float:
    """How far a plain encoder, and a plain binary head, with the weights ``state`` are from the
    model, on a random image: |plain - model| / |model|, the larger of embedding and logits.
    ValueError above ``TOLERANCE``, or when it is NaN."""
    backbone = model.backbone
    levels = {
        name: getattr(backbone, name)
        for name in ('out_indices', 'early')
        if getattr(backbone, name, None)
    }
    encoder = type(backbone)(backbone.arch, backbone.img_size, **levels)
    state = encoder.keys.own(state) if hasattr(encoder, 'keys') else state
    encoder.load_sam(state, 'The merged model')
    model, encoder = copy.deepcopy(model).cpu().eval(), encoder.eval()
    number = task_number(model, task)
    if number is not None:
        model.backbone.peft.select(model.backbone, [number])
    image = torch.randn(1, 3, *model.backbone.img_size, generator=torch.Generator().manual_seed(0))
    ours, its = encoder(image), model.backbone(image)
    pairs = list(zip(ours, its, strict=True))
    if fits_sam_decoder(model):
        head = MODELS.build({**model.head_cfg, 'peft': None}).eval()
        head.load_sam(state, 'The merged model')
        pairs.append((head(ours), model.decode_head(its)))
    found = (
        torch.stack([(ours - its).norm() / its.norm() for ours, its in pairs]).max().item()
    )  # NaN if one is
    if not found <= TOLERANCE:
        raise ValueError(
            f'The merged model differs from the adapted one by {found:.1e} of its output, more '
            'than '
            f'{TOLERANCE:.0e}: it was not written. Use the adapter file with its config.'
        )
    return found
