"""SAM 2's image encoder (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024), after
Hiera (Ryali et al., 2023) and its windowed positions (Bolya et al., "Window Attention is Bugged",
2023), as a backbone."""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.block import StageBlock, run_blocks
from ...layers.patches import PatchEmbed
from ...peft import Anatomy
from ...registry import MODELS
from .encoder import Encoder, check_attention, sizes_of
from .hiera_keys import SAM2
from .sam_vit import BLOCK
from .variants import VARIANTS, Variant, address_of

ARCHS = {
    'tiny': dict(embed_dim=96, num_heads=1, stages=(1, 2, 7, 2), global_attn_indexes=(5, 7, 9)),
    'small': dict(embed_dim=96, num_heads=1, stages=(1, 2, 11, 2), global_attn_indexes=(7, 10, 13)),
    'base_plus': dict(
        embed_dim=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_attn_indexes=(12, 16, 20),
        background=14,
    ),
    'large': dict(
        embed_dim=144,
        num_heads=2,
        stages=(2, 6, 36, 4),
        global_attn_indexes=(23, 33, 43),
        windows=(8, 4, 16, 8),
    ),
}
COMMON = dict(windows=(8, 4, 14, 7), background=7, mlp_ratio=4, out_channels=256)
WEIGHTS = 'https://dl.fbaipublicfiles.com/segment_anything_2'
FOLDERS = {'2': '072824', '2.1': '092824'}
"""Where SAM 2's authors publish the weights, by version."""
VARIANTS.update(
    {
        f'sam{version}_hiera_{arch}': Variant(
            f'SAM {version}, the encoder in its size {arch}',
            dict(type='Hiera', arch=arch, version=version),
            f'{WEIGHTS}/{folder}/sam{version}_hiera_{arch}.pt',
            patch=32,
            head=dict(fine=True),
        )
        for version, folder in FOLDERS.items()
        for arch in ARCHS
    }
)
STRIDE = 4
"""Image pixels per cell and axis of the first stage; twice as many in each further one."""


class PyramidNeck(nn.Module):
    """SAM 2's feature pyramid: every stage's map to ``out`` channels, and the last but one with the
    last, doubled, added to it. What is finer is not mixed, and the last is not returned.

    Args:
        widths: Channels of the stages' maps.
    """

    def __init__(self, widths: Sequence[int], out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(dim, out, 1) for dim in reversed(widths))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, h_i, w_i), finest first, to (B, out, h_i, w_i) of all but the last. A map of
        B / n elements, which those of the last have in common, is given to each of them."""
        maps = [conv(x) for conv, x in zip(reversed(self.convs), maps, strict=True)]
        count = maps[-1].shape[0]
        maps = [x if x.shape[0] == count else x.repeat(count // x.shape[0], 1, 1, 1) for x in maps]
        coarse = F.interpolate(maps.pop(), scale_factor=2.0, mode='nearest')
        maps[-1] = maps[-1] + coarse
        return maps


@MODELS.register_module()
class Hiera(Encoder):
    """SAM 2's image encoder, fine-tuned by any method of the ``PEFT`` registry that goes into it.

    Its first blocks run on cells of 4 pixels. The first block of each further stage halves the map
    and doubles the width and the number of heads. Returns three maps, at strides 4, 8 and 16; the
    last has SAM 2's ``no_mem_embed`` added, as for single images, which have no memory.

    Args:
        arch: 'tiny', 'small', 'base_plus', 'large', or a dict with embed_dim and num_heads of the
            first stage, stages (blocks of each), global_attn_indexes and, where they differ from
            SAM 2's, windows (of each stage), background (side of the position table), mlp_ratio,
            out_channels.
        img_size: The (H, W) of the images it is meant for; nothing in it depends on them.
        version: '2.1' or '2': which of SAM 2's weights 'published' means; the networks are alike.
        peft: Config of the fine-tuning method; None leaves every parameter trainable.
        unfreeze: Names, or beginnings of names, of parameters trained beside the method's:
            ``('neck',)``.
        attention: 'fused' or 'eager', the twin that keeps the attention matrix.
        checkpointing: Keep only the blocks' inputs for the backward pass and compute the rest
            again: less memory, more time.
        compile: True, or options of ``torch.compile``: every block is compiled, in place.
        checkpoint: Path or URL of SAM 2's weights, of its authors' layout, Hugging Face's or ours,
            loaded by ``init_weights``; 'published' stands for the address of the arch's own.
        in_channels: 3, red, green and blue, and further ones, whose part of the patch embedding
            every method trains.
        base_dtype: How the weights of the frozen linear layers are stored: 'float32', 'bfloat16',
            'int8' or 'nf4'; see docs/speed.md.

    Raises:
        ValueError: Unknown arch, version or attention; fewer channels than 3; an ``unfreeze`` name
            or PEFT target that matches nothing.
    """

    keys = SAM2
    single_map = False
    named = {(arch['embed_dim'], sum(arch['stages'])): name for name, arch in ARCHS.items()}

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | Sequence[int] = 1024,
        version: str = '2.1',
        peft: dict | None = None,
        unfreeze: Sequence[str] = (),
        attention: str = 'fused',
        checkpointing: bool = False,
        compile: bool | dict = False,
        checkpoint: str | None = None,
        in_channels: int = 3,
        base_dtype: str = 'float32',
    ) -> None:
        if version not in FOLDERS:
            raise ValueError(f'version={version!r} is unknown: use one of {", ".join(FOLDERS)}.')
        super().__init__(
            sizes_of(arch, ARCHS, COMMON),
            img_size,
            in_channels,
            address_of(checkpoint, dict(type=type(self).__name__, arch=arch, version=version)),
        )
        dim = self.arch['embed_dim']
        self.patch_embed = PatchEmbed(7, dim, in_channels, stride=STRIDE, padding=3)
        self.pos_embed = self.table(self.arch['background'])
        self.pos_embed_window = self.table(self.arch['windows'][0])
        self.blocks = nn.ModuleList(self.make_blocks(check_attention(attention), checkpointing))
        widths = [dim * 2**stage for stage in range(len(self.arch['stages']))]
        self.neck = PyramidNeck(widths, self.arch['out_channels'])
        self.no_mem_embed = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(1, 1, self.arch['out_channels']), std=0.02)
        )
        self.walk = run_blocks  # where a method may put a module: the name is part of adapter files
        self.adapt(peft, unfreeze, compile, base_dtype)

    def table(self, side: int) -> nn.Parameter:
        """Positions (1, C, side, side)."""
        shape = 1, self.arch['embed_dim'], side, side
        return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))

    def make_blocks(self, attention: str, checkpointing: bool) -> list[StageBlock]:
        """The first block of a stage has the windows of the stage before, on whose map it runs."""
        blocks: list[StageBlock] = []
        for stage, count in enumerate(self.arch['stages']):
            for number in range(count):
                first = stage > 0 and number == 0
                out = self.arch['embed_dim'] * 2**stage
                windowed = len(blocks) not in self.arch['global_attn_indexes']
                blocks.append(
                    StageBlock(
                        out // 2 if first else out,
                        out,
                        self.arch['num_heads'] * 2**stage,
                        self.arch['mlp_ratio'],
                        self.arch['windows'][stage - first] if windowed else 0,
                        2 if first else 1,
                        attention,
                        checkpointing,
                    )
                )
        return blocks

    @property
    def depth(self) -> int:
        return sum(self.arch['stages'])

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of the stages' last blocks, whose maps the neck takes."""
        return tuple(end - 1 for end in accumulate(self.arch['stages']))

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per cell and axis of the map after each block."""
        stages = enumerate(self.arch['stages'])
        return tuple(STRIDE * 2**stage for stage, count in stages for _ in range(count))

    @property
    def anatomy(self) -> Anatomy:
        return Anatomy(
            self.blocks,
            BLOCK,
            before=('patch_embed.', 'pos_embed'),
            can={'maps', 'tokens', 'walk', 'branches'},
            patches=self.patch_embed.proj,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, in_channels, H, W), normalised, to the maps (B, 256, H / 4, W / 4), (B, 256, H
        / 8, W / 8) and (B, 256, H / 16, W / 16).

        Sides that are no multiple of 32 are zero-padded at the bottom and right; the maps are those
        of the padded image.
        """
        maps = self.walk(self, self.pad(x))
        return self.finish(*(y for number, y in enumerate(maps) if number in self.ends))

    def finish(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """From the maps after ``ends``, (B, H, W, C), to what the encoder returns."""
        *finer, last = self.neck([x.permute(0, 3, 1, 2) for x in maps])
        return *finer, last + self.no_mem_embed.view(-1, 1, 1)

    def pad(self, x: Tensor) -> Tensor:
        stride = STRIDE * 2 ** (len(self.arch['stages']) - 1)
        return F.pad(x, (0, -x.shape[-1] % stride, 0, -x.shape[-2] % stride))

    def add_position(self, patches: Tensor) -> Tensor:
        """The position embedding, added to the map (B, H, W, C): one table resized to it, and one
        of the windows' size, tiled over it."""
        H, W = patches.shape[1:3]
        table, window = self.pos_embed, self.pos_embed_window
        precise = table.to(torch.promote_types(table.dtype, torch.float32))
        resized = F.interpolate(precise, size=(H, W), mode='bicubic').to(table.dtype)
        side = window.shape[-1]
        tiled = window.tile(1, 1, -(-H // side), -(-W // side))[..., :H, :W]
        return patches + (resized + tiled).permute(0, 2, 3, 1)
