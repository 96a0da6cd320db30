"""MobileSAM's image encoder (Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for
Mobile Applications", 2023): a TinyViT (Wu et al., ECCV 2022) with SAM's neck, as a backbone."""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ...layers.block import Block, run_blocks
from ...layers.conv_norm import ConvNorm, StoredNorm
from ...layers.table_attention import TableAttention
from ...peft import Anatomy, BlockParts
from ...registry import MODELS
from .encoder import Encoder, check_attention, sizes_of
from .keys import Keys
from .variants import VARIANTS, Variant, address_of

ARCHS = {
    '5m': dict(
        embed_dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        num_heads=(4, 5, 10),
        window_sizes=(7, 14, 7),
    ),
}
COMMON = dict(mlp_ratio=4, out_channels=256)
ADDRESS = 'https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt'
VARIANTS.update(mobile_sam=Variant('MobileSAM', dict(type='TinyViT', arch='5m'), ADDRESS))
KEYS = Keys(
    family='MobileSAM',
    encoder=re.compile(
        r'image_encoder\.('
        r'(patch_embed\.(seq\.[02]|blocks\.\d+\.conv[123])'
        r'|stages\.[012]\.\d+\.(local_conv|between\.conv[123]))'
        r'\.(c\.weight|bn\.(weight|bias|running_(mean|var)|num_batches_tracked))'
        r'|stages\.[012]\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.lin[12])\.(weight|bias)'
        r'|stages\.[012]\.\d+\.attn\.attention_bias(es|_idxs)'
        r'|neck\.[0-3]\.(weight|bias))'
    ),
    layouts=(
        (
            r'(^|\.)layers\.[123]\.blocks\.',
            [
                (r'^(layers|patch_embed|neck)\b', r'image_encoder.\1'),
                (r'\.layers\.0\.blocks\.', '.patch_embed.blocks.'),
                *((rf'\.layers\.{i}\.downsample\.', f'.stages.{i}.0.between.') for i in range(3)),
                *((rf'\.layers\.{i + 1}\.blocks\.', f'.stages.{i}.') for i in range(3)),
                (r'^(image_encoder\..*)\.attn\.norm\.', r'\1.norm1.'),
                (r'^(image_encoder\..*)\.mlp\.norm\.', r'\1.norm2.'),
                (r'^(image_encoder\..*)\.mlp\.fc', r'\1.mlp.lin'),
            ],
        ),
    ),
    bare=[(r'^(stages|patch_embed|neck)\b', r'image_encoder.\1')],
    published=[
        (r'^image_encoder\.patch_embed\.blocks\.', 'image_encoder.layers.0.blocks.'),
        (r'^image_encoder\.stages\.(\d)\.0\.between\.', r'image_encoder.layers.\1.downsample.'),
        *(
            (rf'^image_encoder\.stages\.{i}\.', f'image_encoder.layers.{i + 1}.blocks.')
            for i in range(3)
        ),
        (r'^(image_encoder\..*)\.norm1\.', r'\1.attn.norm.'),
        (r'^(image_encoder\..*)\.norm2\.', r'\1.mlp.norm.'),
        (r'^(image_encoder\..*)\.mlp\.lin', r'\1.mlp.fc'),
    ],
)
"""MobileSAM's names, in which what comes between two stages belongs to the one before."""
STRIDE = 16
"""Image pixels by cell of the last map: the last stage widens without halving."""


class MBConv(nn.Module):
    """Inverted bottleneck (Sandler et al., "MobileNetV2", 2018) of four times the width: (B, C, H,
    W) to the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 4 * dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchEmbed(nn.Module):
    """All before the first attention: (B, in_channels, H, W) to (B, H / 4, W / 4, C).

    Channels beyond red, green and blue start at zero, as in SAM's encoder.
    """

    def __init__(self, dim: int, depth: int, in_channels: int = 3) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2)
        )
        self.blocks = nn.ModuleList(MBConv(dim) for _ in range(depth))
        self.further = None
        if in_channels > 3:  # no module, so that methods that change convolutions see three
            self.further = nn.Parameter(torch.zeros(dim // 2, in_channels - 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.seq
        y = first(x[:, :3])
        if self.further is not None:
            scale = first.bn.line()[0][:, None, None, None]
            y = y + F.conv2d(x[:, 3:], scale * self.further, stride=2, padding=1)
        for layer in (*rest, *self.blocks):
            y = layer(y)
        return y.permute(0, 2, 3, 1)


class Downsample(nn.Module):
    """Between two stages: (B, H, W, C) to (B, H / stride, W / stride, C'), rounded up."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out)
        self.conv2 = ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(x.permute(0, 3, 1, 2)))))
        return self.conv3(x).permute(0, 2, 3, 1)


class TinyViTBlock(Block):
    """Attention in windows, a convolution of each channel by itself, and an mlp:

        x <- x + attention(norm1(x)),   x <- conv(x),   x <- x + mlp(norm2(x))

    The first block of a stage begins with what comes between the stages. Padded cells of a window
    are zero before ``norm1``, as in MobileSAM. Extra tokens are no cells: the convolution passes
    them over.
    """

    eps = 1e-5

    def __init__(self, dim: int, *sizes, between: Downsample | None = None) -> None:
        super().__init__(dim, *sizes)
        self.between = between
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def make_attention(
        self, dim: int, num_heads: int, size: tuple[int, int], attention: str
    ) -> TableAttention:
        return TableAttention(dim, num_heads, size, attention)

    def transform(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        if self.between is not None:
            x = self.between(x)
        x = self.convolve(self.add(x, self.attend(x, extra)))
        return self.add(x, self.mlp(self.norm2(x)))

    def transform_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        if self.between is not None:
            x = self.between(x)
        gain, extra_gain = self.attend_both(x, extra)
        x, extra = self.convolve(self.add(x, gain)), self.add(extra, extra_gain)
        return self.add(x, self.mlp(self.norm2(x))), self.add(extra, self.mlp(self.norm2(extra)))

    def convolve(self, x: Tensor) -> Tensor:
        return self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def attend(self, x: Tensor, extra: Tensor | None) -> Tensor:
        extra = None if extra is None else self.norm1(extra)
        return self.attn.in_windows(self.norm1(x), self.window_size, extra, self.pad(x))

    def attend_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        return self.attn.both_in_windows(
            self.norm1(x), self.window_size, self.norm1(extra), self.pad(x)
        )

    def pad(self, x: Tensor) -> Tensor:
        """A padded cell after ``norm1``, (1, 1, 1, C)."""
        return self.norm1(x.new_zeros(1, 1, 1, x.shape[-1]))


@MODELS.register_module()
class TinyViT(Encoder):
    """MobileSAM's image encoder, fine-tuned by any method of the ``PEFT`` registry that takes
    blocks of several widths.

    Batch normalisation uses the statistics of the pretraining in all methods, ``Full`` too, which
    trains its weight and bias; see ``StoredNorm``. There is no position table: images of any size
    run as they are.

    Args:
        arch: '5m', MobileSAM's, or a dict with embed_dims and depths of the four stages, num_heads
            and window_sizes of the last three, which have attention, and, where they differ from
            MobileSAM's, mlp_ratio and out_channels.
        img_size: The (H, W) of the training images, which files name; the network has it nowhere.
        peft, unfreeze, attention, checkpointing, compile, checkpoint, in_channels, base_dtype: As
            for ``SAMViT``.

    Raises:
        ValueError: Unknown arch or attention; fewer channels than 3; an ``unfreeze`` name or PEFT
            target that matches nothing.
    """

    keys = KEYS
    optional = ('neck',)

    def __init__(
        self,
        arch: str | dict = '5m',
        img_size: int | Sequence[int] = 1024,
        peft: dict | None = None,
        unfreeze: Sequence[str] = (),
        attention: str = 'fused',
        checkpointing: bool = False,
        compile: bool | dict = False,
        checkpoint: str | None = None,
        in_channels: int = 3,
        base_dtype: str = 'float32',
    ) -> None:
        sizes = sizes_of(arch, ARCHS, COMMON)
        if [len(sizes[name]) for name in ARCHS['5m']] != [4, 4, 3, 3]:
            raise ValueError(
                f'arch={sizes}: give embed_dims and depths of all four stages, num_heads and '
                'window_sizes of the last three, which have attention.'
            )
        address = address_of(checkpoint, dict(type='TinyViT', arch=arch))
        super().__init__(sizes, img_size, in_channels, address)
        check_attention(attention)
        dims, depths = sizes['embed_dims'], sizes['depths']
        self.patch_embed = PatchEmbed(dims[0], depths[0], in_channels)
        self.stages = nn.ModuleList()
        for number, depth in enumerate(depths[1:]):
            window, stride = sizes['window_sizes'][number], 1 if number == 2 else 2
            between = Downsample(dims[number], dims[number + 1], stride)
            self.stages.append(
                nn.ModuleList(
                    TinyViTBlock(
                        dims[number + 1],
                        sizes['num_heads'][number],
                        sizes['mlp_ratio'],
                        window,
                        (window, window),
                        attention,
                        checkpointing,
                        between=None if i else between,
                    )
                    for i in range(depth)
                )
            )
        out = sizes['out_channels']
        self.neck = nn.Sequential(
            nn.Conv2d(dims[-1], out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )
        self.walk = run_blocks  # where a method may put a module: the name is part of adapter files
        self.adapt(peft, unfreeze, compile, base_dtype)

    @property
    def blocks(self) -> list[TinyViTBlock]:
        """Those with attention, in the order they run."""
        return [block for stage in self.stages for block in stage]

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def anatomy(self) -> Anatomy:
        parts = [
            BlockParts(
                linears=dict(qkv='attn.qkv', proj='attn.proj', lin1='mlp.lin1', lin2='mlp.lin2'),
                mlp='mlp',
                qkv_groups=block.attn.num_heads,
            )
            for block in self.blocks
        ]
        return Anatomy(
            self.blocks,
            parts,
            before=('patch_embed.',),
            norms=(nn.LayerNorm, LayerNorm2d, StoredNorm),
            can={'maps', 'tokens', 'walk', 'branches'},
            patches=self.patch_embed.seq[0].c,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, in_channels, H, W), normalised, to the neck's map (B, 256, H / 16, W / 16).

        Sides that are no multiple of 16 are zero-padded at the bottom and right, as SAM pads.
        """
        for after in self.walk(self, self.pad(x)):
            x = after
        return self.finish(x)

    def finish(self, x: Tensor) -> tuple[Tensor, ...]:
        """From the last map, (B, H, W, C), to what the encoder returns."""
        return (self.neck(x.permute(0, 3, 1, 2)),)

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, -x.shape[-1] % STRIDE, 0, -x.shape[-2] % STRIDE))

    def add_position(self, patches: Tensor) -> Tensor:
        """The map as it is: the convolutions and the tables say where things are."""
        return patches
