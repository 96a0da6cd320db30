"""What SAM 3's weights are called: by its authors, by Hugging Face, here.

A file of SAM 3 holds one trunk, two necks on it and two decoders: the detector's, which look for
what a text names, and the tracker's, which are SAM 2's and answer clicks and boxes. The mask heads
here are SAM's, so that the tracker's neck and decoder are the ones that are read; the detector's
neck takes the place of a missing one.
"""

import re
from dataclasses import dataclass

import torch
from mmengine.logging import print_log
from torch import Tensor

from .keys import Keys, Rules
from .position_tables import as_map, with_class_row
from .sam_keys import HUGGING_FACE_DECODER

LEVELS = ('x4', 'x2', 'x1', 'x0_5')
"""What the neck's levels are called here; other programs number them."""
DETECTOR_NECK, NECK, TABLE = 'detector_neck.', 'image_encoder.neck.', 'image_encoder.pos_tile'
TRACKER = r'^(tracker|inst_interactive_predictor\.model)\.'
TRUNK: Rules = [
    (r'^image_encoder\.pos_embed$', TABLE),
    (r'^(image_encoder\.blocks\.\d+\.mlp)\.fc', r'\1.lin'),
    *((rf'neck\.{number}\.', f'neck.{level}.') for number, level in enumerate(LEVELS)),
]
AUTHORS: Rules = [
    (r'^(detector\.)?backbone\.vision_backbone\.trunk\.', 'image_encoder.'),
    (r'^(detector\.)?backbone\.vision_backbone\.sam2_convs\.', NECK),
    (r'^(detector\.)?backbone\.vision_backbone\.convs\.', DETECTOR_NECK),
    (rf'{TRACKER}no_mem_embed$', 'image_encoder.no_mem_embed'),
    (rf'{TRACKER}sam_(mask_decoder|prompt_encoder)\.', r'\2.'),
    *TRUNK,
]
HUGGING_FACE: Rules = [
    (r'^tracker_neck\.', NECK),
    (r'^(detector_model\.)?(vision_encoder\.)?neck\.', DETECTOR_NECK),
    (r'^(detector_model\.)?(vision_encoder\.)?backbone\.', 'image_encoder.'),
    (r'^(embeddings|layers|layer_norm)\.', r'image_encoder.\1.'),
    (r'^(tracker_model\.)?no_memory_embedding$', 'image_encoder.no_mem_embed'),
    (r'^tracker_model\.(mask_decoder|prompt_encoder|shared_image_embedding)\.', r'\1.'),
    (r'^image_encoder\.embeddings\.position_embeddings$', TABLE),
    (r'^image_encoder\.embeddings\.patch_embeddings\.projection', 'image_encoder.patch_embed.proj'),
    (r'^image_encoder\.layer_norm\.', 'image_encoder.ln_pre.'),
    (r'^image_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'^(image_encoder\.blocks\.\d+)\.layer_norm', r'\1.norm'),
    (r'^(image_encoder\.blocks\.\d+)\.attention\.o_proj', r'\1.attn.proj'),
    (r'^(image_encoder\.blocks\.\d+)\.attention\.([qkv])_proj', r'\1.attn.\2'),
    (r'neck\.fpn_layers\.', 'neck.'),
    (r'neck\.0\.scale_layers\.0', 'neck.0.dconv_2x2_0'),
    (r'neck\.0\.scale_layers\.2', 'neck.0.dconv_2x2_1'),
    (r'neck\.1\.scale_layers\.0', 'neck.1.dconv_2x2'),
    (r'(neck\.\d)\.proj1', r'\1.conv_1x1'),
    (r'(neck\.\d)\.proj2', r'\1.conv_3x3'),
    (r'^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.proj_in', r'\1.lin1'),
    (r'^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.proj_out', r'\1.lin2'),
    (r'^(mask_decoder\.transformer\..*)\.o_proj', r'\1.out_proj'),
    *HUGGING_FACE_DECODER,
    *TRUNK,
]
TO_AUTHORS: Rules = [
    *((rf'neck\.{level}\.', f'neck.{number}.') for number, level in enumerate(LEVELS)),
    (rf'^{NECK}', 'detector.backbone.vision_backbone.sam2_convs.'),
    (rf'^{DETECTOR_NECK}', 'detector.backbone.vision_backbone.convs.'),
    (r'^image_encoder\.no_mem_embed$', 'tracker.no_mem_embed'),
    (r'^image_encoder\.pos_tile$', 'image_encoder.pos_embed'),
    (r'^(image_encoder\.blocks\.\d+\.mlp)\.lin', r'\1.fc'),
    (r'^image_encoder\.', 'detector.backbone.vision_backbone.trunk.'),
    (r'^(mask_decoder|prompt_encoder)\.', r'tracker.sam_\1.'),
]


@dataclass(frozen=True)
class SAM3Keys(Keys):
    """Also what no renaming does: the choice between the necks, q, k and v as one layer, the table
    of positions as a map without the class token's."""

    def own(self, content: dict, source: str = 'The state dict') -> dict[str, Tensor]:
        state = super().own(content, source)
        for name in [name for name in state if name.endswith('.attn.freqs_cis')]:
            del state[name]  # what the rotary positions follow from
        if TABLE in state:
            state[TABLE] = as_map(state[TABLE], source)
        fuse_qkv(state)
        if not any(name.startswith(NECK) for name in state):
            detector = [name for name in state if name.startswith(DETECTOR_NECK)]
            for name in detector:
                state[NECK + name.removeprefix(DETECTOR_NECK)] = state.pop(name)
            if detector:
                print_log(
                    f"{source} has the neck of SAM 3's detector, and none of its tracker, whose "
                    "mask decoder ours is: the detector's is taken.",
                    'current',
                )
        return state

    def authors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Only what the authors' programs have a name for."""
        state = dict(state)
        if TABLE in state:
            state[TABLE] = with_class_row(state[TABLE])
        renamed = super().authors(state)
        return {
            name: value
            for name, value in renamed.items()
            if name.startswith(('detector.', 'tracker.'))
        }


def fuse_qkv(state: dict[str, Tensor]) -> None:
    """Puts the queries', keys' and values' weights into one, in place."""
    for name in [name for name in state if '.attn.q.' in name]:
        parts = [name.replace('.attn.q.', f'.attn.{part}.') for part in 'qkv']
        if all(part in state for part in parts):
            fused = torch.cat([state.pop(part) for part in parts])
            state[name.replace('.attn.q.', '.attn.qkv.')] = fused


SAM3 = SAM3Keys(
    family='SAM 3',
    encoder=re.compile(
        r'image_encoder\.(pos_tile|no_mem_embed|'
        r'(patch_embed\.proj|ln_pre|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12])|'
        r'neck\.\w+\.(dconv_2x2(_[01])?|conv_[13]x[13]))\.(weight|bias))'
    ),
    layouts=(
        (r'\bvision_backbone\.', AUTHORS),
        (r'layers\.\d+\.attention\.o_proj\.|^tracker_(neck|model)\.', HUGGING_FACE),
    ),
    bare=[(r'^(blocks|pos_tile|ln_pre|patch_embed|neck|no_mem_embed)\b', r'image_encoder.\1')],
    published=TO_AUTHORS,
)
