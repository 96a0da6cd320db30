"""What SAM's weights are called. Our names are segment-anything's own."""

import re

from torch import Tensor

from .keys import Keys, Rules

HUGGING_FACE_DECODER: Rules = [
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
    (r'layer_norm_final_attn', 'norm_final_attn'),
    (r'^(mask_decoder\..*)\.layer_norm(\d)', r'\1.norm\2'),
    (r'upscale_conv1', 'output_upscaling.0'),
    (r'upscale_layer_norm', 'output_upscaling.1'),
    (r'upscale_conv2', 'output_upscaling.3'),
    (r'\.hq_token\.', '.hq.hf_token.'),
    (r'\.hq_mask_mlp\.', '.hq.hf_mlp.'),
    *(
        rule
        for theirs, ours in dict(
            compress_vit='compress_vit_feat',
            encoder='embedding_encoder',
            mask='embedding_maskfeature',
        ).items()
        for rule in (
            (rf'^mask_decoder\.{theirs}_conv1', f'mask_decoder.hq.{ours}.0'),
            (rf'^mask_decoder\.{theirs}_norm', f'mask_decoder.hq.{ours}.1'),
            (rf'^mask_decoder\.{theirs}_conv2', f'mask_decoder.hq.{ours}.3'),
        )
    ),
    (r'(_mlps\.\d+|_head|hf_mlp)\.layers\.0', r'\1.layers.1'),
    (r'(_mlps\.\d+|_head|hf_mlp)\.proj_in', r'\1.layers.0'),
    (r'(_mlps\.\d+|_head|hf_mlp)\.proj_out', r'\1.layers.2'),
]
"""Prompt encoder and mask decoder of ``transformers``' Segment Anything models."""
HUGGING_FACE: Rules = [
    (r'^vision_encoder\.', 'image_encoder.'),
    (r'^(layers|pos_embed|patch_embed|neck)\b', r'image_encoder.\1'),
    *HUGGING_FACE_DECODER,
    (r'patch_embed\.projection', 'patch_embed.proj'),
    (r'^image_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'neck\.conv1', 'neck.0'),
    (r'neck\.layer_norm1', 'neck.1'),
    (r'neck\.conv2', 'neck.2'),
    (r'neck\.layer_norm2', 'neck.3'),
    (r'\.layer_norm(\d)', r'.norm\1'),
]
IS_HUGGING_FACE = (
    r'^(vision_encoder|shared_image_embedding)\.|'
    r'\.(layer_norm\d|upscale_conv\d|proj_in|projection)\.'
)
ENCODER = re.compile(
    r'image_encoder\.(pos_embed|((patch_embed\.proj|neck\.[0-3]|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12]))'
    r'\.(weight|bias))|blocks\.\d+\.attn\.rel_pos_[hw])'
)
SAM = Keys(
    family='SAM',
    encoder=ENCODER,
    layouts=((IS_HUGGING_FACE, HUGGING_FACE),),
    bare=[
        (r'^(blocks|pos_embed|patch_embed|neck)\b', r'image_encoder.\1'),
        (
            r'^mask_decoder\.(hf_token|hf_mlp|compress_vit_feat|embedding_(encoder|maskfeature))\.',
            r'mask_decoder.hq.\1.',
        ),
    ],
    published=[(r'^mask_decoder\.hq\.', 'mask_decoder.')],
)


def to_sam_keys(content: dict, source: str = 'The state dict') -> dict[str, Tensor]:
    """Renames the weights in a checkpoint of SAM from any known layout to ours."""
    return SAM.own(content, source)
