"""What SAM 2's weights are called: by its authors, by Hugging Face, here."""

import re

from .keys import Keys, Rules
from .sam_keys import HUGGING_FACE_DECODER

AUTHORS: Rules = [
    (r'^(image_encoder\.)?trunk\.', 'image_encoder.'),
    (r'^(blocks|pos_embed|pos_embed_window|patch_embed|neck)\b', r'image_encoder.\1'),
    (r'^(image_encoder\.blocks\.\d+\.mlp)\.layers\.0', r'\1.lin1'),
    (r'^(image_encoder\.blocks\.\d+\.mlp)\.layers\.1', r'\1.lin2'),
    (r'^(image_encoder\.neck\.convs\.\d)\.conv', r'\1'),
    (r'^no_mem_embed', 'image_encoder.no_mem_embed'),
    (r'^sam_(mask_decoder|prompt_encoder)\.', r'\1.'),
    (r'(\.transformer\.layers\.\d+\.mlp)\.layers\.0', r'\1.lin1'),
    (r'(\.transformer\.layers\.\d+\.mlp)\.layers\.1', r'\1.lin2'),
]
HUGGING_FACE: Rules = [
    (r'^vision_encoder\.', ''),
    (r'^no_memory_embedding', 'image_encoder.no_mem_embed'),
    (r'^backbone\.', 'image_encoder.'),
    (r'^neck\.', 'image_encoder.neck.'),
    (r'^image_encoder\.patch_embed\.projection', 'image_encoder.patch_embed.proj'),
    (r'^(image_encoder\.blocks\.\d+)\.layer_norm', r'\1.norm'),
    (r'(blocks\.\d+|layers\.\d+)\.mlp\.proj_in', r'\1.mlp.lin1'),
    (r'(blocks\.\d+|layers\.\d+)\.mlp\.proj_out', r'\1.mlp.lin2'),
    (r'(_attn|_image|_token|final_attn_token_to_image)\.o_proj', r'\1.out_proj'),
    *HUGGING_FACE_DECODER,
]
TO_AUTHORS: Rules = [
    (r'^image_encoder\.no_mem_embed', 'no_mem_embed'),
    (r'^image_encoder\.(?!neck\.)', 'image_encoder.trunk.'),
    (r'^(image_encoder\.neck\.convs\.\d)', r'\1.conv'),
    (r'\.mlp\.lin1', '.mlp.layers.0'),
    (r'\.mlp\.lin2', '.mlp.layers.1'),
    (r'^(mask_decoder|prompt_encoder)\.', r'sam_\1.'),
]
SAM2 = Keys(
    family='SAM 2',
    encoder=re.compile(
        r'image_encoder\.(no_mem_embed|pos_embed(_window)?|'
        r'(patch_embed\.proj|neck\.convs\.[0-3]|'
        r'blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12]|proj))\.(weight|bias))'
    ),
    layouts=(
        (r'(^|\.)trunk\.|^sam_mask_decoder\.|\.mlp\.layers\.', AUTHORS),
        (r'^vision_encoder\.|\.(layer_norm\d|proj_in)\.|^no_memory_embedding', HUGGING_FACE),
    ),
    bare=[(r'^(blocks|pos_embed|patch_embed|neck|no_mem_embed)', r'image_encoder.\1')],
    published=TO_AUTHORS,
)
