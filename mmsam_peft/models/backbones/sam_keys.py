"""One name for every weight of SAM, whatever file it comes from: segment-anything's own."""

import re
from collections.abc import Iterable

from torch import Tensor

WRAPPERS = ('state_dict', 'model_state_dict', 'model_state', 'model')
"""Under which trainers keep a model's weights in their checkpoints."""
PREFIX = re.compile(r'^((module|model|sam|base_model)\.)+')
"""What wrappers of a model, such as DistributedDataParallel or Hugging Face's peft, put before its
names."""
HUGGING_FACE = [  # SamModel's names -> segment-anything's, applied in this order
    (r'^vision_encoder\.', 'image_encoder.'),
    (r'^(layers|pos_embed|patch_embed|neck)\b', r'image_encoder.\1'),
    (
        r'^(shared_image|prompt_encoder\.shared)_embedding\.positional_embedding',
        'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix',
    ),
    (r'\.point_embed\.', '.point_embeddings.'),
    (r'\.mask_embed\.conv1', '.mask_downscaling.0'),
    (r'\.mask_embed\.layer_norm1', '.mask_downscaling.1'),
    (r'\.mask_embed\.conv2', '.mask_downscaling.3'),
    (r'\.mask_embed\.layer_norm2', '.mask_downscaling.4'),
    (r'\.mask_embed\.conv3', '.mask_downscaling.6'),
    (r'patch_embed\.projection', 'patch_embed.proj'),
    (r'^image_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'neck\.conv1', 'neck.0'),
    (r'neck\.layer_norm1', 'neck.1'),
    (r'neck\.conv2', 'neck.2'),
    (r'neck\.layer_norm2', 'neck.3'),
    (r'layer_norm_final_attn', 'norm_final_attn'),
    (r'\.layer_norm(\d)', r'.norm\1'),
    (r'upscale_conv1', 'output_upscaling.0'),
    (r'upscale_layer_norm', 'output_upscaling.1'),
    (r'upscale_conv2', 'output_upscaling.3'),
    (r'(_mlps\.\d+|_head)\.layers\.0', r'\1.layers.1'),
    (r'(_mlps\.\d+|_head)\.proj_in', r'\1.layers.0'),
    (r'(_mlps\.\d+|_head)\.proj_out', r'\1.layers.2'),
]
IS_HUGGING_FACE = re.compile(
    r'^(vision_encoder|shared_image_embedding)\.|\.(layer_norm\d|upscale_conv\d|proj_in|projection)\.'
)
OURS = [
    (r'^backbone\.', 'image_encoder.'),
    (r'^decode_head\.(no_mask_embed|pe_layer)', r'prompt_encoder.\1'),
    (r'^decode_head\.prompt_encoder\.', 'prompt_encoder.'),
    (r'^decode_head\.', 'mask_decoder.'),
]
BARE = [(r'^(blocks|pos_embed|patch_embed|neck)\b', r'image_encoder.\1')]
ENCODER = re.compile(
    r'image_encoder\.(pos_embed|((patch_embed\.proj|neck\.[0-3]|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12]))'
    r'\.(weight|bias))|blocks\.\d+\.attn\.rel_pos_[hw])'
)
"""Everything that SAM's image encoder has."""


def unwrapped(content: dict) -> dict:
    """The state dict in a trainer's checkpoint, however deep."""
    for _ in range(8):
        inner = next(
            (content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), None
        )
        if inner is None:
            return content
        content = inner
    return content


def to_sam_keys(content: dict, source: str = 'The state dict') -> dict[str, Tensor]:
    """Renames the weights in a checkpoint from any known layout to ``image_encoder.*``,
    ``prompt_encoder.*``, ``mask_decoder.*``. ValueError when two different weights get one name."""
    state = {
        key: value
        for key, value in unwrapped(content).items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    names = {key: PREFIX.sub('', key.replace('_orig_mod.', '')) for key in state}
    rules = _rules(names.values())
    renamed, origin = {}, {}
    for key, name in names.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in renamed and not (
            renamed[name].shape == state[key].shape and renamed[name].equal(state[key])
        ):
            raise ValueError(
                f'{source} holds two models: both {origin[name]} and {key} would be {name}. Save '
                'the one that is '
                'meant into a file of its own.'
            )
        renamed[name], origin[name] = state[key], key
    return renamed


def _rules(names: Iterable[str]) -> list[tuple[str, str]]:
    names = list(names)
    if any(IS_HUGGING_FACE.search(name) for name in names):
        return HUGGING_FACE
    if any(name.startswith(('backbone.', 'decode_head.')) for name in names):
        return OURS
    return BARE
