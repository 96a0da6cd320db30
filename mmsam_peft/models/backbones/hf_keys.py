"""The names of the weights of Hugging Face's vision transformers, of all its layouts."""

import re

from .keys import Keys, Rules

RULES: Rules = [
    (r'^(vit|dinov2|dinov2_with_registers|dinov3_vit)\.', ''),  # around them, a classifier
    (r'^(encoder\.)?layers?\.(\d+)\.', r'blocks.\2.layer.'),
    (r'^layernorm\.', 'norm.'),
    (r'\.attention\.attention\.query\.', '.attention.q_proj.'),  # up to release 4
    (r'\.attention\.attention\.key\.', '.attention.k_proj.'),
    (r'\.attention\.attention\.value\.', '.attention.v_proj.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'^(blocks\.\d+\.layer)\.output\.dense\.', r'\1.mlp.fc2.'),
    (r'^(embeddings|blocks|norm|neck)\.', r'image_encoder.\1.'),
]
LAYER = (
    r'(norm[12]|layernorm_(before|after)|attention\.[qkvo]_proj|mlp\.(fc[12]|(up|down|gate)_proj))'
    r'\.(weight|bias)|layer_scale[12]\.lambda1'
)
EMBEDDINGS = (
    r'cls_token|register_tokens|position_embeddings|patch_embeddings(\.projection)?\.(weight|bias)'
)
HUGGING_FACE = Keys(
    family="Hugging Face's vision transformers",
    encoder=re.compile(
        rf'image_encoder\.(embeddings\.({EMBEDDINGS})|blocks\.\d+\.layer\.({LAYER})'
        r'|(norm|neck\.[0-3])\.(weight|bias))'
    ),
    layouts=((r'^((vit|dinov\w+)\.)?(embeddings|(encoder\.)?layers?\.\d+)\.', RULES),),
    bare=RULES,
)
