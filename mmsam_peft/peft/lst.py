"""LST (Sung et al., "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning",
NeurIPS 2022)."""

from collections.abc import Collection, Iterator

from torch import Tensor, nn, zeros

from ..registry import PEFT
from .anatomy import anatomy_of
from .base import PEFTMethod
from .placement import Blocks, chosen_blocks

TEMPERATURE = 0.1
HEAD_WIDTH = 8
"""Channels of a head of the side network; fused attention in half precision wants multiples of
8."""


class Rung(nn.Module):
    """One step of the ladder: the gate between an encoder block's map and the side network, and a
    small block."""

    def __init__(self, dim: int, width: int, block: nn.Module) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width, bias=False)
        self.alpha = nn.Parameter(zeros(1))
        self.block = block

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """h: (B, H, W, width), x: (B, H, W, C) -> (B, H, W, width)"""
        mu = (self.alpha / TEMPERATURE).sigmoid()
        return self.block(mu * self.down(x) + (1 - mu) * h)


class Ladder(nn.Module):
    """The encoder's walk with a side network beside the blocks ``numbers``, added to the last
    map."""

    def __init__(
        self, encoder: nn.Module, numbers: Collection[int], reduction: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        anatomy = anatomy_of(encoder)
        dim = anatomy.width(range(min(numbers), len(anatomy.blocks)))
        heads = max(1, dim // (HEAD_WIDTH * reduction))
        width = heads * HEAD_WIDTH
        if width * mlp_ratio < 1:
            raise ValueError(
                f'mlp_ratio={mlp_ratio}: no channel of the side network, of width {width}, is '
                'left: '
                f'use {1 / width} or more.'
            )
        self.start = nn.Linear(dim, width, bias=False)
        self.rungs = nn.ModuleDict()
        for number in numbers:
            self.rungs[str(number)] = Rung(
                dim, width, anatomy.blocks[number].resized(width, heads, mlp_ratio)
            )
        self.up = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, encoder: nn.Module, image: Tensor) -> Iterator[Tensor]:
        x, h = encoder.add_position(encoder.patch_embed(image)), None
        for number, block in enumerate(encoder.blocks):
            before, x = x, block(x)
            if str(number) in self.rungs:
                h = self.rungs[str(number)](self.start(before) if h is None else h, x)
            yield x + self.up(h) if number == len(encoder.blocks) - 1 else x


@PEFT.register_module()
class LST(PEFTMethod):
    """A small transformer beside the encoder, which reads the encoder's maps and never feeds them.
    With x_i the map after the chosen block i, x_0 the one before the first of them, and x the
    encoder's last map,

        h_0 = D_0 x_0
        h_i = block_i(mu_i D_i x_i + (1 - mu_i) h_{i-1}),   mu_i = sigmoid(alpha_i / 0.1)
        y   = x + U h

    x: (B, H, W, C); h: (B, H, W, C / reduction). block_i is a pre-norm block like the encoder's,
    with the attention and the window of its block i, at the small width. U and alpha start at zero.
    y takes the place of the encoder's last map, before the neck; the maps of earlier
    ``out_indices`` stay as they are.

    Trains D, alpha, the small blocks and U. No gradient enters the encoder and none of its blocks
    keeps anything for the backward pass, unless ``unfreeze`` names parameters of the blocks. Not
    mergeable.

    The paper's networks are language models. Here the side network's weights start at random, not
    as a pruned copy of the encoder's. The Conv-LoRA paper, which compares with LST on SAM, gives
    only the trained size, 11.49 million with the head at ViT-H; a tenth of the width, as many heads
    as the encoder's 16, of 8 channels, a bottleneck MLP and projections without bias give 11.4935.

    Args:
        reduction: C over the side network's width, which is a multiple of 8, rounded down, and at
            least 8.
        mlp_ratio: Hidden width of the side network's MLPs over its width.
        blocks: 'all', 'first:N', 'last:N' or block numbers: those that have a small block.

    Raises:
        ValueError: ``reduction`` below 1; ``mlp_ratio`` leaves the MLPs no channel; no such block.
    """

    needs = frozenset({'walk', 'resize', 'uniform'})

    def __init__(
        self, reduction: int = 10, mlp_ratio: float = 0.25, blocks: Blocks = 'all'
    ) -> None:
        if reduction < 1:
            raise ValueError(
                f'reduction={reduction}: the side network is at most as wide as the encoder: use 1 '
                'or more.'
            )
        self.reduction, self.mlp_ratio, self.blocks = reduction, mlp_ratio, blocks

    def inject(self, host: nn.Module) -> None:
        ladder = Ladder(host, chosen_blocks(host, self.blocks), self.reduction, self.mlp_ratio)
        like = anatomy_of(host).patches.weight
        host.walk = ladder.to(like.device, like.dtype)
