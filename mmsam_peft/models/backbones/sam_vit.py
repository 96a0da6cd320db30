"""SAM's image encoder (Kirillov et al., "Segment Anything", 2023, after Li et al., "ViTDet", 2022),
as a backbone."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ...layers.block import Block, run_blocks
from ...layers.patches import PatchEmbed
from ...peft import Anatomy, BlockParts
from ...registry import MODELS
from .checkpoints import resize_pos_embed
from .encoder import Encoder, check_attention, sizes_of
from .variants import VARIANTS, Variant, address_of

ARCHS = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3, global_attn_indexes=(2, 5, 8, 11)),
    'base': dict(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    'large': dict(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    'huge': dict(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}
COMMON = dict(patch_size=16, window_size=14, mlp_ratio=4, out_channels=256)
HQ_ADDRESS = 'https://huggingface.co/lkeab/hq-sam/resolve/main/'
ADDRESS = 'https://dl.fbaipublicfiles.com/segment_anything/'
VARIANTS.update(
    sam_vit_b=Variant(
        'SAM ViT-B', dict(type='SAMViT', arch='base'), f'{ADDRESS}sam_vit_b_01ec64.pth'
    ),
    sam_vit_l=Variant(
        'SAM ViT-L', dict(type='SAMViT', arch='large'), f'{ADDRESS}sam_vit_l_0b3195.pth'
    ),
    sam_vit_h=Variant(
        'SAM ViT-H', dict(type='SAMViT', arch='huge'), f'{ADDRESS}sam_vit_h_4b8939.pth'
    ),
    **{
        f'hq_sam_vit_{size[0]}': Variant(
            f'HQ-SAM ViT-{size[0].upper()}',
            dict(type='SAMViT', arch=size, early=True),
            f'{HQ_ADDRESS}sam_hq_vit_{size[0]}.pth',
            head=dict(hq=dict(channels=ARCHS[size]['embed_dim'])),
        )
        for size in ('base', 'large', 'huge')
    },
)
BLOCK = BlockParts(
    linears=dict(qkv='attn.qkv', proj='attn.proj', lin1='mlp.lin1', lin2='mlp.lin2'), mlp='mlp'
)


@MODELS.register_module()
class SAMViT(Encoder):
    """SAM's image encoder, fine-tuned by any method of the ``PEFT`` registry.

    Args:
        arch: 'tiny', 'base', 'large', 'huge', or a dict with embed_dim, depth, num_heads,
            global_attn_indexes and, where they differ from SAM's, patch_size, window_size (0: all
            blocks global), mlp_ratio, out_channels.
        img_size: The (H, W) the position tables are kept for; inputs of other sizes resize them on
            the way.
        peft: Config of the fine-tuning method; None leaves every parameter trainable.
        unfreeze: Names, or beginnings of names, of parameters trained beside the method's:
            ``('neck',)``.
        out_indices: Blocks whose maps are returned instead of the neck's output, for heads that
            want several levels.
        attention: 'fused' or 'eager', the twin that keeps the attention matrix.
        checkpointing: Keep only the blocks' inputs for the backward pass and compute the rest
            again: less memory, more time.
        compile: True, or options of ``torch.compile``: every block is compiled, in place, so that
            names and files stay the same; copies and pickles of the encoder are not compiled. For
            images of one size: each other one compiles anew.
        checkpoint: Path or URL of SAM weights (or any of the layouts of ``checkpoints.py``), loaded
            by ``init_weights``; 'published' stands for the address of the arch's own.
        in_channels: 3, red, green and blue, and further ones, whose part of the patch embedding
            every method trains.
        early: Also return the map after the first global block, before the neck's, for HQ-SAM's
            part of a mask head.
        base_dtype: How the weights of the frozen linear layers are stored: 'float32', 'bfloat16',
            'int8' or 'nf4'; see docs/speed.md.

    Raises:
        ValueError: Unknown arch, attention or out_indices; fewer channels than 3; an ``unfreeze``
            name or PEFT target that matches nothing; 'published' weights of an arch that has none;
            ``early`` beside out_indices, or without a global block before the last.
    """

    optional = ('neck', 'rel_pos')
    archs, common = ARCHS, COMMON
    block: type[Block] = Block
    before: tuple[str, ...] = ('patch_embed.', 'pos_embed')
    norms: tuple[type[nn.Module], ...] = (nn.LayerNorm, LayerNorm2d)
    named = {(arch['embed_dim'], arch['depth']): name for name, arch in ARCHS.items()}

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | Sequence[int] = 1024,
        peft: dict | None = None,
        unfreeze: Sequence[str] = (),
        out_indices: Sequence[int] | None = None,
        attention: str = 'fused',
        checkpointing: bool = False,
        compile: bool | dict = False,
        checkpoint: str | None = None,
        in_channels: int = 3,
        early: bool = False,
        base_dtype: str = 'float32',
    ) -> None:
        super().__init__(
            sizes_of(arch, self.archs, self.common),
            img_size,
            in_channels,
            address_of(checkpoint, dict(type=type(self).__name__, arch=arch)),
        )
        check_attention(attention)
        dim, depth, self.patch_size = (
            self.arch['embed_dim'],
            self.arch['depth'],
            self.arch['patch_size'],
        )
        if out_indices is not None and not all(0 <= i < depth for i in out_indices):
            raise ValueError(
                f'out_indices={tuple(out_indices)}: the encoder has blocks 0 to {depth - 1}.'
            )
        self.out_indices, self.early = out_indices, early
        everywhere = [number for number in range(depth) if not self.window_of(number)]
        first = everywhere[0] if everywhere else depth
        if early and (out_indices is not None or first >= depth - 1):
            raise ValueError(
                f'early=True returns the map after the first global block before that of the neck: '
                f'got out_indices={out_indices} and global blocks {tuple(everywhere)} of {depth}. '
                'Leave one of them away.'
            )
        self.ends = (first, depth - 1) if early else (depth - 1,)

        grid = self.learnt_grid()
        self.build_stem(dim, grid)
        self.blocks = nn.ModuleList(
            self.block(
                dim,
                self.arch['num_heads'],
                self.arch['mlp_ratio'],
                self.window_of(i),
                grid,
                attention,
                checkpointing,
            )
            for i in range(depth if out_indices is None else max(out_indices) + 1)
        )
        self.neck = None if out_indices is not None else self.build_neck(dim)
        self.walk = run_blocks  # where a method may put a module: the name is part of adapter files
        self.adapt(peft, unfreeze, compile, base_dtype)

    def learnt_grid(self) -> tuple[int, int]:
        """The rows and columns of the map that the positions are kept for."""
        rows, columns = (math.ceil(side / self.patch_size) for side in self.img_size)
        return rows, columns

    def window_of(self, block: int) -> int:
        """Cells of a side of a block's windows; 0 for a global block."""
        size: int = self.arch['window_size']
        return 0 if block in self.arch['global_attn_indexes'] else size

    def build_stem(self, dim: int, grid: tuple[int, int]) -> None:
        """What is used before block 0."""
        self.patch_embed = PatchEmbed(self.patch_size, dim, self.in_channels)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *grid, dim), std=0.02))

    def build_neck(self, dim: int) -> nn.Module:
        out = self.arch['out_channels']
        return nn.Sequential(
            nn.Conv2d(dim, out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    @property
    def anatomy(self) -> Anatomy:
        return Anatomy(
            self.blocks,
            BLOCK,
            before=self.before,
            norms=self.norms,
            can={'maps', 'tokens', 'walk', 'branches', 'resize', 'uniform'},
            patches=self.patch_embed.proj,
            outputs=self.ends if self.out_indices is None else self.out_indices,
            heads=self.arch['num_heads'],
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, in_channels, H, W), normalised, to the neck's map (B, 256, H / 16, W / 16),
        with ``early`` before it a map (B, C, ..), or to one map (B, C, ..) per out_index.

        Sides that are no multiple of the patch size are zero-padded at the bottom and right, as SAM
        pads.
        """
        wanted = self.ends if self.neck is not None else self.out_indices
        maps = [x for i, x in enumerate(self.walk(self, self.pad(x))) if i in wanted]
        return self.finish(*maps) if self.neck is not None else channels_first(maps)

    def finish(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """From the maps after ``ends``, (B, H, W, C), to what the encoder returns."""
        *early, x = maps
        return *channels_first(early), self.neck(x.permute(0, 3, 1, 2))

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels by cell of the map after each block."""
        return (self.patch_size,) * self.depth

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, -x.shape[-1] % self.patch_size, 0, -x.shape[-2] % self.patch_size))

    def add_position(self, patches: Tensor) -> Tensor:
        """The position embedding, resized to the map (B, H, W, C), added to it."""
        return patches + resize_pos_embed(self.pos_embed, patches.shape[1:3])


def channels_first(maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each (B, H, W, C) to (B, C, H, W)."""
    return tuple(x.permute(0, 3, 1, 2).contiguous() for x in maps)
