"""Reading base weights wholly or not at all; resizing what depends on the image size."""

import re
from collections import defaultdict
from collections.abc import Collection

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ...adapters.file import carried_header
from ...adapters.header import parse_header
from ...layers.attention import resize_rel_pos
from ...layers.storage import shape
from .foreign import MERGE_FIRST, check_family, check_nothing_else, likely_cause
from .keys import Keys, unwrapped
from .sam_keys import SAM


def read_checkpoint(path: str, keys: Keys) -> dict[str, Tensor]:
    """Opens a path, folder or URL through MMEngine's loader and returns its weights under our
    names, ``image_encoder.*``, ``mask_decoder.*`` and ``prompt_encoder.*``.

    Args:
        keys: Of the family of the encoder that is to get them.

    Raises:
        ValueError: It holds no state dict, an adapter, a model of another family, or updates of a
            fine-tuning method beside the weights they belong to.
    """
    content = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, expected a state dict: tensors by name.'
        )
    state = unwrapped(content)
    _check_is_base(state, path, keys)
    check_family([key for key in state if isinstance(key, str)], str(path), keys.family)
    state = keys.own(state, str(path))
    check_nothing_else(state, str(path), keys)
    return state


def read_sam_checkpoint(path: str) -> dict[str, Tensor]:
    return read_checkpoint(path, SAM)


def _check_is_base(state: dict, path: str, keys: Keys) -> None:
    """Raises ValueError for our own files that hold updates of a method, by their header."""
    metadata = getattr(state, '_metadata', None)
    carried = carried_header(metadata.get('')) if isinstance(metadata, dict) else None
    if not carried:
        return
    header = parse_header(carried['header'], path)
    method = header['peft']['type']
    if not carried['whole']:
        raise ValueError(
            f'{path} is an adapter of mmsam_peft ({method}), no base weights: give it as the '
            'weights of '
            'tools/test.py, tools/predict.py or init_model, or as load_from; model.checkpoint '
            'names the weights '
            f'it was trained on. As a base for other trainings: {MERGE_FIRST}'
        )
    names = [
        f'image_encoder.{name.removeprefix("backbone.")}'
        for name in header.get('tensors', ())
        if name.startswith('backbone.')
    ]
    if added := [name for name in names if not keys.encoder.fullmatch(name)]:
        raise ValueError(
            f'{path} is a checkpoint of a model trained with {method}, whose updates lie beside '
            'the weights '
            f'({added[0]}): as model.checkpoint it would lose them. {MERGE_FIRST}'
        )


def resize_pos_embed(pos_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, h, w, C) to (1, H, W, C), bicubic."""
    if pos_embed.shape[1:3] == tuple(size):
        return pos_embed
    resized = F.interpolate(
        pos_embed.permute(0, 3, 1, 2).float(), size=tuple(size), mode='bicubic', align_corners=False
    )
    return resized.permute(0, 2, 3, 1).to(pos_embed.dtype)


def _fit(key: str, value: Tensor, target: torch.Size) -> Tensor:
    """``value`` resized to the shape ``target`` where only the image size separates them."""
    if value.shape == target:
        return value
    if key.endswith('pos_embed') and value.ndim == 4 and value.shape[-1] == target[-1]:
        return resize_pos_embed(value, target[1:3])
    if 'rel_pos_' in key and value.shape[-1] == target[-1]:
        return resize_rel_pos(value, target[0])
    return value


def load_part(
    module: nn.Module,
    state: dict[str, Tensor],
    prefixes: tuple[str, ...],
    source: str,
    added: Collection[str] = (),
    optional: Collection[str] = (),
    sizes: str = 'backbone.arch',
) -> list[str]:
    """Loads what ``state`` holds under ``prefixes`` into ``module`` and logs one line on what
    became of it.

    Args:
        module: Its own keys carry none of the prefixes, ``blocks.0.norm1.weight`` for
            ``image_encoder.blocks.0.norm1.weight``.
        state: Weights under SAM's keys.
        source: The checkpoint's name, for the messages.
        added: The module's keys that no checkpoint is expected to hold.
        optional: Beginnings of the module's keys that a checkpoint may lack, all of one beginning
            or none.
        sizes: What in the config has to fit the file.

    Returns:
        The module's keys that the checkpoint does not hold.

    Raises:
        ValueError: Nothing matches, a tensor has another shape (another arch), or some are missing.
    """
    own = {key: shape(value) for key, value in module.state_dict(keep_vars=True).items()}
    part = {
        key.removeprefix(prefix): value
        for prefix in prefixes
        for key, value in state.items()
        if key.startswith(prefix)
    }
    fitted, resized, wrong = {}, [], []
    for key in [key for key in own if key in part]:
        value = _fit(key, part[key], own[key])
        if value is not part[key]:
            resized.append(key)
        if value.shape == own[key]:
            fitted[key] = value
        else:
            wrong.append(
                f'{key}: {tuple(part[key].shape)} in the checkpoint, {tuple(own[key])} in the model'
            )
    if wrong:
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(
            f'{source} belongs to another architecture: {"; ".join(sorted(wrong)[:3])}{more}. '
            f'Set {sizes} to what the checkpoint was made for, or use another checkpoint.'
        )
    if not fitted:
        raise ValueError(
            f'Nothing in {source} matches {type(module).__name__}: expected keys like '
            f'{prefixes[0]}{next(iter(own))}, got {", ".join(list(state)[:3]) or "no tensors"}. '
            f'{likely_cause(state)}'
        )
    missing = [key for key in own if key not in fitted and key not in added]
    unused = [key for key in part if key not in own]
    _check_whole(own, missing, optional, source, state)
    if deeper := [key for key in unused if key.startswith('transformer.')]:
        raise ValueError(
            f'{source} has {len(deeper)} tensors that {type(module).__name__} has no place for, '
            'such as '
            f'{deeper[0]}. Set {sizes} to what the checkpoint was made for, or use another '
            'checkpoint.'
        )
    module.load_state_dict(fitted, strict=False)
    print_log(
        f'{source} -> {type(module).__name__}: {len(fitted)} tensors loaded, {len(resized)} of '
        'them resized'
        f'{_groups(resized)}, {len(missing)} missing{_groups(missing)}, {len(unused)} '
        f'unused{_groups(unused)}',
        'current',
    )
    return missing


def _check_whole(
    own: Collection[str],
    missing: list[str],
    optional: Collection[str],
    source: str,
    state: Collection[str],
) -> None:
    """Raises ValueError where a file holds a part of a model: the rest would stay at random
    values."""
    gone = {kind for kind in optional if all(key in missing for key in own if kind in key)}
    lacking = [key for key in missing if not any(kind in key for kind in gone)]
    if lacking:
        raise ValueError(
            f'{source} lacks {len(lacking)} of {len(own)} tensors of the model, such as '
            f'{", ".join(lacking[:3])}, '
            f'which would stay at random values. {likely_cause(state)}'
        )


def _groups(keys: list[str]) -> str:
    """' (neck x6, rel_pos_h x12)': keys by what they are, not one by one."""
    count = defaultdict(int)
    for key in keys:
        count[re.sub(r'^blocks\.\d+\.(attn\.)?', '', key).split('.')[0]] += 1
    return (
        f' ({", ".join(f"{name} x{n}" if n > 1 else name for name, n in count.items())})'
        if count
        else ''
    )


def guess_arch(state: dict[str, Tensor]) -> tuple[int, int] | None:
    """(embed_dim, depth) of the encoder in a state dict under SAM's keys, None if it has none."""
    blocks = {int(m[1]) for key in state if (m := re.match(r'image_encoder\.blocks\.(\d+)\.', key))}
    projection = state.get('image_encoder.patch_embed.proj.weight')
    return (len(projection), max(blocks) + 1) if blocks and projection is not None else None
