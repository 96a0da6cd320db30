"""SAM 3's image encoder (Carion et al., "SAM 3: Segment Anything with Concepts", 2025), after the
Perception Encoder (Bolya et al., 2025) and ViTDet, as a backbone.

Its weights are under Meta's SAM licence, which restricts fields of use, and are given to those who
accept it.
"""

import torch
from torch import Tensor, nn

from ...hub import SCHEME
from ...layers.block import Block
from ...layers.patches import PatchEmbed
from ...layers.rotary import RotaryAttention
from ...registry import MODELS
from .sam3_keys import LEVELS, SAM3
from .sam_vit import SAMViT, channels_first
from .variants import VARIANTS, Variant

ARCHS = {
    'sam3': dict(embed_dim=1024, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}
VARIANTS.update(
    sam3=Variant(
        'SAM 3',
        dict(type='SAM3ViT', arch='sam3'),
        f'{SCHEME}facebook/sam3',
        licence='SAM License',
        gated=True,
        image_size=1008,
        least=504,
        patch=14,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        head=dict(stride=14, fine=True),
    )
)
COMMON = dict(
    patch_size=14,
    window_size=24,
    learnt_size=24,
    mlp_ratio=4.625,
    out_channels=256,
    scales=(4, 2, 1),
)
SCALES = dict(zip((4, 2, 1, 0.5), LEVELS, strict=True))
"""What a level of the neck is called, by its cells for each cell and axis of the last map."""


class RotaryBlock(Block):
    """A block whose queries and keys are turned by their positions."""

    eps = 1e-5

    def make_attention(
        self, dim: int, num_heads: int, size: tuple[int, int], attention: str
    ) -> RotaryAttention:
        return RotaryAttention(dim, num_heads, size, attention)


class Level(nn.Sequential):
    """A level of the neck: (B, C, H, W) to (B, out, scale * H, scale * W)."""

    def __init__(self, dim: int, out: int, scale: float) -> None:
        super().__init__()
        width = dim
        if scale == 4:
            self.dconv_2x2_0 = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
            self.gelu = nn.GELU()
            self.dconv_2x2_1 = nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2)
            width = dim // 4
        elif scale == 2:
            self.dconv_2x2 = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
            width = dim // 2
        elif scale == 0.5:
            self.maxpool_2x2 = nn.MaxPool2d(2)
        self.conv_1x1 = nn.Conv2d(width, out, 1)
        self.conv_3x3 = nn.Conv2d(out, out, 3, padding=1)


@MODELS.register_module()
class SAM3ViT(SAMViT):
    """SAM 3's image encoder, fine-tuned by any method of the ``PEFT`` registry.

    A vision transformer on patches of 14 pixels, with rotary positions, windows of 24 and four
    global blocks. Its neck makes of the last map, at stride 14, one map per scale, finest first: at
    1008 x 1008 pixels (B, 256, 288, 288), (.., 144, 144) and (.., 72, 72), strides 3.5, 7 and 14.
    That of scale 1 is the one that SAM's mask decoder decodes, the finer two are those that it adds
    (``conv_s0`` and ``conv_s1``), as in SAM 3's own tracker, and so has the tracker's
    ``no_mem_embed`` added, as for single images, which have no memory. SAM 3 makes a fourth map, of
    half the resolution, and none of its heads uses it.

    For images of any size: the learnt positions are tiled, and the rows and columns of a global
    block's rotary positions are stretched over the 24 that they were learnt for, as SAM 3 does for
    the size it is built for. (It is built for squares alone. Here each axis is stretched by itself,
    since SAM 3 resizes images to a square.)

    Args:
        arch: 'sam3', or a dict with embed_dim, depth, num_heads, global_attn_indexes and, where
            they differ from SAM 3's, patch_size, window_size (0: all blocks global), learnt_size
            (rows and columns of cells that the positions are learnt for), mlp_ratio, out_channels,
            scales (of 4, 2, 1 and 0.5: the neck's maps).
        img_size, peft, unfreeze, out_indices, attention, checkpointing, compile, checkpoint,
            in_channels: As for :class:`SAMViT`.

    Raises:
        ValueError: As for :class:`SAMViT`; unknown scales; heads whose channels are no multiple of
            4.
    """

    keys, optional = SAM3, ('neck', 'no_mem_embed')
    archs, common = ARCHS, COMMON
    named = {(1024, 32): 'sam3'}
    block = RotaryBlock
    before = ('patch_embed.', 'pos_tile', 'ln_pre.')
    norms = (nn.LayerNorm,)

    def __init__(self, arch: str | dict = 'sam3', img_size=1008, **kwargs) -> None:
        super().__init__(arch, img_size, **kwargs)

    @property
    def single_map(self) -> bool:
        return len(self.arch['scales']) == 1

    def learnt_grid(self) -> tuple[int, int]:
        return (self.arch['learnt_size'],) * 2

    def build_stem(self, dim: int, grid: tuple[int, int]) -> None:
        self.patch_embed = PatchEmbed(self.patch_size, dim, self.in_channels, bias=False)
        # not named as the tables that are resized where a file's is of another size
        self.pos_tile = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *grid, dim), std=0.02))
        self.ln_pre = nn.LayerNorm(dim, eps=self.block.eps)

    def build_neck(self, dim: int) -> nn.Module:
        scales, out = self.arch['scales'], self.arch['out_channels']
        if 1 not in scales or not set(scales) <= SCALES.keys():
            raise ValueError(f'scales={tuple(scales)}: expected 1 and some of 4, 2 and 0.5.')
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, out))
        return nn.ModuleDict(
            {SCALES[scale]: Level(dim, out, scale) for scale in sorted(scales, reverse=True)}
        )

    def add_position(self, patches: Tensor) -> Tensor:
        """The position embedding, repeated over the map (B, H, W, C), added to it; normalised."""
        H, W = patches.shape[1:3]
        rows, columns = self.pos_tile.shape[1:3]
        tiled = self.pos_tile.repeat(1, -(-H // rows), -(-W // columns), 1)[:, :H, :W]
        return self.ln_pre(patches + tiled)

    def finish(self, *maps: Tensor) -> tuple[Tensor, ...]:
        *early, x = channels_first(maps)
        levels = {name: level(x) for name, level in self.neck.items()}
        levels['x1'] = levels['x1'] + self.no_mem_embed.view(-1, 1, 1).to(levels['x1'].dtype)
        return *early, *levels.values()
