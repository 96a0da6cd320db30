"""What a file is that does not hold, or not only, SAM's weights."""

import re
from collections.abc import Collection

from .sam_keys import ENCODER

MERGE_FIRST = (
    'Merge its updates into the weights first: tools/merge_adapter.py for a file of ours, '
    'merge_and_unload() of '
    "Hugging Face's peft, or the program that made it."
)
SAM_ONLY = "Use SAM's own weights (sam_vit_b, sam_vit_l, sam_vit_h), or others of the same encoder."
FOREIGNERS = [  # (what it is, what its names have), the first that fits
    ('SAM 3', r'(^|\.)(vision_backbone|detector_model|tracker_model|geometry_encoder)\.'),
    (
        'SAM 2, whose encoder is a Hiera',
        r'(^|\.)(trunk|sam_mask_decoder|memory_encoder|vision_encoder\.backbone)\.',
    ),
    ('MobileSAM, whose encoder is a TinyViT', r'(^|\.)(patch_embed\.seq\.|layers\.\d+\.blocks\.)'),
    ('FastSAM or another YOLO', r'^(model\.)+\d+\.(cv\d|conv|bn|m|dfl|proto)\.'),
    ('EfficientSAM', r'image_encoder\.blocks\.\d+\.mlp\.fc[12]\.'),
    ("timm's copy of SAM's encoder", r'blocks\.\d+\.attn\.rel_pos_h(?s:.*)\.mlp\.fc1\.'),
    (
        'another vision transformer, such as one of DINO, MAE or timm',
        r'(^|\.)(cls_token|register_tokens)\b|\.ls1\.|'
        r'blocks\.\d+\.mlp\.fc1\.',
    ),
]


def check_not_foreign(keys: Collection[str], source: str) -> None:
    """Raises ValueError when the names are known and those of another model than SAM."""
    text = '\n'.join(sorted(keys))
    for name, pattern in FOREIGNERS:
        if re.search(pattern, text, re.MULTILINE):
            raise ValueError(
                f'{source} holds the weights of {name}, which is no SAM encoder. {SAM_ONLY}'
            )


def check_only_sam(keys: Collection[str], source: str) -> None:
    """Raises ValueError when names lie inside SAM's layers that SAM does not have: what they stand
    for would be lost."""
    inside = sorted(
        key
        for key in keys
        if re.match(r'image_encoder\.(blocks|patch_embed|neck)\b', key)
        and not ENCODER.fullmatch(key)
    )
    if inside:
        raise ValueError(
            f"{source} has {len(inside)} tensors inside SAM's layers that SAM does not have, such "
            f'as {inside[0]}: '
            f'a fine-tuning method wraps its layers, or they are of another encoder. {MERGE_FIRST}'
        )


def likely_cause(state: Collection[str]) -> str:
    """Why an encoder's weights are not all in a file, for an error message."""
    if not any(key.startswith('image_encoder.') for key in state):
        if any(key.startswith(('mask_decoder.', 'prompt_encoder.')) for key in state):
            return "It holds SAM's decoder without the encoder: use a file with both."
        return SAM_ONLY
    return 'It is incomplete, or of another encoder: fetch it again from where it was published.'
