"""Reading SAM weights: the official key layout, Hugging Face's, ours; resizing what depends on the image size."""
import re
from collections import defaultdict
from collections.abc import Collection

import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ...layers.attention import resize_rel_pos

HUGGING_FACE = [  # SamModel's names -> segment-anything's, applied in this order
    (r'^vision_encoder\.', 'image_encoder.'),
    (r'^(shared_image|prompt_encoder\.shared)_embedding\.positional_embedding',
     'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'),
    (r'patch_embed\.projection', 'patch_embed.proj'),
    (r'^image_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'neck\.conv1', 'neck.0'), (r'neck\.layer_norm1', 'neck.1'), (r'neck\.conv2', 'neck.2'), (r'neck\.layer_norm2', 'neck.3'),
    (r'layer_norm_final_attn', 'norm_final_attn'),
    (r'\.layer_norm(\d)', r'.norm\1'),
    (r'upscale_conv1', 'output_upscaling.0'), (r'upscale_layer_norm', 'output_upscaling.1'),
    (r'upscale_conv2', 'output_upscaling.3'),
    (r'(_mlps\.\d+|_head)\.layers\.0', r'\1.layers.1'), (r'(_mlps\.\d+|_head)\.proj_in', r'\1.layers.0'),
    (r'(_mlps\.\d+|_head)\.proj_out', r'\1.layers.2'),
]
OURS = [
    (r'^module\.', ''), (r'^backbone\.', 'image_encoder.'),
    (r'^decode_head\.(no_mask_embed|pe_layer)', r'prompt_encoder.\1'), (r'^decode_head\.', 'mask_decoder.'),
]


def to_sam_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames a state dict from any known layout to ``image_encoder.*``, ``prompt_encoder.*``, ``mask_decoder.*``."""
    for wrapper in ('state_dict', 'model'):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if any(key.startswith('vision_encoder.') for key in state):
        rules = HUGGING_FACE
    elif any(key.startswith(('patch_embed.', 'blocks.')) for key in state):
        rules = [(r'^', 'image_encoder.')]
    else:
        rules = OURS
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        if isinstance(value, Tensor):
            renamed[key] = value
    return renamed


def read_sam_checkpoint(path: str) -> dict[str, Tensor]:
    """Opens a path or URL through MMEngine's loader and returns its weights under SAM's keys. ValueError if it has none."""
    state = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    if not isinstance(state, dict):
        raise ValueError(f'{path} holds a {type(state).__name__}, expected a state dict: tensors by name.')
    return to_sam_keys(state)


def resize_pos_embed(pos_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, h, w, C) to (1, H, W, C), bicubic."""
    if pos_embed.shape[1:3] == tuple(size):
        return pos_embed
    resized = F.interpolate(pos_embed.permute(0, 3, 1, 2).float(), size=tuple(size), mode='bicubic', align_corners=False)
    return resized.permute(0, 2, 3, 1).to(pos_embed.dtype)


def _fit(key: str, value: Tensor, target: Tensor) -> Tensor:
    """``value`` resized to the shape of ``target`` where only the image size separates them."""
    if value.shape == target.shape:
        return value
    if key.endswith('pos_embed') and value.ndim == 4 and value.shape[-1] == target.shape[-1]:
        return resize_pos_embed(value, target.shape[1:3])
    if 'rel_pos_' in key and value.shape[-1] == target.shape[-1]:
        return resize_rel_pos(value, len(target))
    return value


def load_part(module: nn.Module, state: dict[str, Tensor], prefixes: tuple[str, ...], source: str,
              added: Collection[str] = ()) -> list[str]:
    """Loads what ``state`` holds under ``prefixes`` into ``module`` and logs one line on what became of it.

    Args:
        module: Its own keys carry none of the prefixes, ``blocks.0.norm1.weight`` for ``image_encoder.blocks.0.norm1.weight``.
        state: Weights under SAM's keys.
        source: The checkpoint's name, for the messages.
        added: The module's keys that no checkpoint is expected to hold.

    Returns:
        The module's keys that the checkpoint does not hold.

    Raises:
        ValueError: Nothing matches, or a tensor has another shape (another arch).
    """
    own = module.state_dict()
    part = {key.removeprefix(prefix): value for prefix in prefixes for key, value in state.items() if key.startswith(prefix)}
    fitted, resized, wrong = {}, [], []
    for key in [key for key in own if key in part]:
        value = _fit(key, part[key], own[key])
        if value is not part[key]:
            resized.append(key)
        if value.shape == own[key].shape:
            fitted[key] = value
        else:
            wrong.append(f'{key}: {tuple(part[key].shape)} in the checkpoint, {tuple(own[key].shape)} in the model')
    if wrong:
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(f'{source} belongs to another architecture: {"; ".join(sorted(wrong)[:3])}{more}. '
                         'Set arch to the one the checkpoint was made for, or take its own checkpoint.')
    if not fitted:
        raise ValueError(f'Nothing in {source} matches {type(module).__name__}: expected keys like '
                         f'{prefixes[0]}{next(iter(own))}, got {", ".join(list(state)[:3]) or "no tensors"}.')
    module.load_state_dict(fitted, strict=False)
    missing = [key for key in own if key not in fitted and key not in added]
    unused = [key for key in part if key not in own]
    print_log(f'{source} -> {type(module).__name__}: {len(fitted)} tensors loaded, {len(resized)} of them resized'
              f'{_groups(resized)}, {len(missing)} missing{_groups(missing)}, {len(unused)} unused{_groups(unused)}', 'current')
    return missing


def _groups(keys: list[str]) -> str:
    """' (neck x6, rel_pos_h x12)': keys by what they are, not one by one."""
    count = defaultdict(int)
    for key in keys:
        count[re.sub(r'^blocks\.\d+\.(attn\.)?', '', key).split('.')[0]] += 1
    return f' ({", ".join(f"{name} x{n}" if n > 1 else name for name, n in count.items())})' if count else ''


def guess_arch(state: dict[str, Tensor]) -> tuple[int, int] | None:
    """(embed_dim, depth) of the encoder in a state dict under SAM's keys, None if it has none."""
    blocks = {int(m[1]) for key in state if (m := re.match(r'image_encoder\.blocks\.(\d+)\.', key))}
    projection = state.get('image_encoder.patch_embed.proj.weight')
    return (len(projection), max(blocks) + 1) if blocks and projection is not None else None
