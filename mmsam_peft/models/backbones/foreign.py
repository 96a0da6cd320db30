"""What a file is that does not hold, or not only, the weights that an encoder wants."""

import re
from collections.abc import Collection

from .keys import Keys

MERGE_FIRST = (
    'Merge its updates into the weights first: tools/merge_adapter.py for a file of ours, '
    'merge_and_unload() of '
    "Hugging Face's peft, or the program that made it."
)
FAMILIES = [  # (family, what its names have, an encoder that it fits), the first that fits
    (
        'SAM 3',
        r'(^|\.)(vision_backbone|detector_model|tracker_model|tracker_neck|geometry_encoder)\.|'
        r'(^|\.)backbone\.layers\.\d+\.attention\.o_proj\.|(^|\.)pos_tile$',
        'sam3',
    ),
    (
        'SAM 2',
        r'(^|\.)(trunk|sam_mask_decoder|memory_encoder|vision_encoder\.backbone)\.|'
        r'(^|\.)pos_embed_window$',
        'sam2.1_hiera_small',
    ),
    ('MobileSAM', r'(^|\.)(patch_embed\.seq\.|layers\.\d+\.blocks\.)', 'mobile_sam'),
    ('FastSAM or another YOLO', r'^(model\.)+\d+\.(cv\d|conv|bn|m|dfl|proto)\.', None),
    (
        'EfficientSAM',
        r'image_encoder\.blocks\.\d+\.mlp\.fc[12]\.',
        'efficient_sam_vit_small',
    ),
    (
        "timm's copy of SAM's encoder",
        r'blocks\.\d+\.attn\.rel_pos_h(?s:.*)\.mlp\.fc1\.',
        None,
    ),
    (
        "Hugging Face's vision transformers",
        r'(^|\.)embeddings\.(cls_token|patch_embeddings)\b',
        'dinov2_small',
    ),
    (
        'another vision transformer, such as one of DINO, MAE or timm',
        r'(^|\.)(cls_token|register_tokens)\b|\.ls1\.|'
        r'blocks\.\d+\.mlp\.fc1\.',
        None,
    ),
    ('SAM', r'(blocks|layers)\.\d+\.attn\.rel_pos_[hw]$', 'sam_vit_b'),
]


def check_family(keys: Collection[str], source: str, family: str) -> None:
    """Raises ValueError when the names are known and those of another family of models."""
    text = '\n'.join(sorted(keys))
    found, encoder = next(
        (
            (name, encoder)
            for name, pattern, encoder in FAMILIES
            if re.search(pattern, text, re.MULTILINE)
        ),
        (family, None),
    )
    if found != family:
        fit = f"; they fit encoder='{encoder}', or another of its sizes" if encoder else ''
        raise ValueError(
            f'{source} holds the weights of {found}, which do not fit an encoder of {family}{fit}. '
            f'Use weights of {family}, or another encoder.'
        )


def check_nothing_else(names: Collection[str], source: str, keys: Keys) -> None:
    """Raises ValueError when names lie inside the encoder's layers that it does not have: what
    they stand for would be lost."""
    inside = sorted(
        name
        for name in names
        if re.match(r'image_encoder\.(blocks|layers|stages|patch_embed|neck)\b', name)
        and not keys.encoder.fullmatch(name)
    )
    if inside:
        raise ValueError(
            f"{source} has {len(inside)} tensors inside {keys.family}'s layers that {keys.family} "
            f'does not have, such as {inside[0]}: a fine-tuning method wraps its layers, or they '
            f'are of another encoder. {MERGE_FIRST}'
        )


def likely_cause(state: Collection[str]) -> str:
    """Why an encoder's weights are not all in a file, for an error message."""
    if not any(key.startswith('image_encoder.') for key in state):
        if any(key.startswith(('mask_decoder.', 'prompt_encoder.')) for key in state):
            return 'It holds a mask decoder without the encoder: use a file with both.'
        return "Use the encoder's own weights, such as those that checkpoint='published' names."
    return 'It is incomplete, or of another encoder: fetch it again from where it was published.'
