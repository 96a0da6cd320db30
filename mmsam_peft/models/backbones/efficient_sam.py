"""EfficientSAM's image encoder (Xiong et al., "EfficientSAM: Leveraged Masked Image Pretraining for
Efficient Segment Anything", CVPR 2024), as a backbone."""

import re
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import Tensor

from ...layers.attention import MapAttention
from ...layers.block import Block
from ...registry import MODELS
from .keys import Keys, Rules
from .position_tables import as_map, with_class_row
from .sam_vit import SAMViT
from .variants import VARIANTS, Variant

TABLE = 'image_encoder.pos_embed'
ADDRESS = 'https://github.com/yformer/EfficientSAM/raw/main/weights/'
VARIANTS.update(
    efficient_sam_vit_tiny=Variant(
        'EfficientSAM ViT-Ti',
        dict(type='EfficientSAMViT', arch='tiny'),
        f'{ADDRESS}efficient_sam_vitt.pt',
    ),
    efficient_sam_vit_small=Variant(
        'EfficientSAM ViT-S',
        dict(type='EfficientSAMViT', arch='small'),
        f'{ADDRESS}efficient_sam_vits.pt.zip',
    ),
)
ARCHS = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
}
COMMON = dict(patch_size=16, learnt_size=14, mlp_ratio=4, out_channels=256)


@dataclass(frozen=True)
class EfficientSAMKeys(Keys):
    """Also the table of positions as a map, without the class token's."""

    def own(self, content: dict, source: str = 'The state dict') -> dict[str, Tensor]:
        state = super().own(content, source)
        if TABLE in state:
            state[TABLE] = as_map(state[TABLE], source)
        if any(name.startswith('efficient_mask_decoder.') for name in state):
            print_log(
                f"{source}: EfficientSAM's mask decoder has other layers than SAM's, which is the "
                'one here. Only the encoder is taken.',
                'current',
            )
        return state

    def authors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """With the authors' own mask decoder, where they have one: SAM's has no place there."""
        state = {
            name: value
            for name, value in state.items()
            if not name.startswith(('mask_decoder.', 'prompt_encoder.'))
        }
        if TABLE in state:
            state[TABLE] = with_class_row(state[TABLE])
        return super().authors(state)


OFFICIAL: Rules = [
    (r'^(image_encoder\.blocks\.\d+\.mlp)\.fc', r'\1.lin'),
    (r'^(mask_decoder|prompt_encoder)\.', r'efficient_\1.'),
]
"""The mask decoder has other layers than SAM's (GELU, group norms), and its prompt encoder has none
for masks: their names are kept out of the way of SAM's."""
EFFICIENT_SAM = EfficientSAMKeys(
    family='EfficientSAM',
    encoder=re.compile(
        r'image_encoder\.(pos_embed|(patch_embed\.proj|neck\.[0-3]|'
        r'blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12]))\.(weight|bias))'
    ),
    layouts=((r'^image_encoder\.blocks\.\d+\.mlp\.fc', OFFICIAL),),
    bare=[(r'^(blocks|pos_embed|patch_embed|neck)\b', r'image_encoder.\1')],
    published=[
        (r'^(image_encoder\.blocks\.\d+\.mlp)\.lin', r'\1.fc'),
        (r'^efficient_(mask_decoder|prompt_encoder)\.', r'\1.'),
    ],
)


class PlainBlock(Block):
    """A block whose attention knows no positions."""

    def make_attention(
        self, dim: int, num_heads: int, size: tuple[int, int], attention: str
    ) -> MapAttention:
        return MapAttention(dim, num_heads, attention)


@MODELS.register_module()
class EfficientSAMViT(SAMViT):
    """EfficientSAM's image encoder, fine-tuned by any method of the ``PEFT`` registry: a plain
    vision transformer with a position embedding, learnt for 14 x 14 cells and resized to any map,
    and SAM's neck. All of its blocks are global.

    Args:
        arch: 'tiny', 'small', or a dict with embed_dim, depth, num_heads and, where they differ
            from EfficientSAM's, patch_size, learnt_size (rows and columns of cells that the
            positions are learnt for), mlp_ratio, out_channels.
        img_size, peft, unfreeze, out_indices, attention, checkpointing, compile, checkpoint,
            in_channels: As for :class:`SAMViT`.
    """

    keys, optional = EFFICIENT_SAM, ('neck',)
    archs, common = ARCHS, COMMON
    named = {(192, 12): 'tiny', (384, 12): 'small'}
    block = PlainBlock
    sam_decoder = False

    def __init__(self, arch: str | dict = 'small', img_size=1024, **kwargs) -> None:
        super().__init__(arch, img_size, **kwargs)

    def learnt_grid(self) -> tuple[int, int]:
        return (self.arch['learnt_size'],) * 2

    def window_of(self, block: int) -> int:
        return 0
