"""Adapters (Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import PEFT
from .anatomy import anatomy_of
from .base import PEFTMethod
from .placement import Blocks, chosen_blocks, specialise_in_place


class BottleneckMLP:
    """Mixin of a frozen mlp, of any class, with two trained layers beside its own, which a subclass
    names."""

    down_name: str
    up_name: str

    def add_bottleneck(
        self, sides: tuple[int, int], width: int, bias: bool
    ) -> tuple[nn.Linear, nn.Linear]:
        """Layers of ``sides[0]`` -> width -> ``sides[1]`` channels, yet to be given their initial
        values, of the mlp's device and dtype."""
        base = next(self.parameters())
        like = dict(bias=bias, device=base.device, dtype=base.dtype)
        down, up = nn.Linear(sides[0], width, **like), nn.Linear(width, sides[1], **like)
        self.add_module(self.down_name, down)
        self.add_module(self.up_name, up)
        return down, up

    def base_forward(self, x: Tensor) -> Tensor:
        """mlp(x), (.., sides[0]) to (.., sides[1])."""
        if not isinstance(self, nn.Sequential):
            return super().forward(x)
        for name, layer in self.named_children():  # nn.Sequential would run the bottleneck as well
            if name not in (self.down_name, self.up_name):
                x = layer(x)
        return x


def specialise_mlps(
    host: nn.Module,
    blocks: Blocks,
    kind: type[BottleneckMLP],
    width: int,
    of_output: bool,
    bias: bool,
) -> list[BottleneckMLP]:
    """Gives the mlp of each chosen block a bottleneck, of ``kind``; blocks that have no mlp are
    passed over.

    Args:
        of_output: Whether the bottleneck sees the mlp's output, not its input.

    Raises:
        ValueError: A width below 1; none of the chosen blocks has an mlp.
    """
    if width < 1:
        raise ValueError(
            f'width={width}: a bottleneck needs at least width 1; to train no update use peft type '
            'Frozen.'
        )
    anatomy = anatomy_of(host)
    numbers = [number for number in chosen_blocks(host, blocks) if anatomy.parts[number].mlp]
    if not numbers:
        able = ', '.join(str(number) for number, parts in enumerate(anatomy.parts) if parts.mlp)
        raise ValueError(
            f"blocks={blocks!r} names only blocks that have no mlp to adapt: use 'all' or of "
            f'{able}.'
        )
    mlps: list[BottleneckMLP] = []
    for number in numbers:
        last = anatomy.linear(number, 'lin2').out_features
        first = last if of_output else anatomy.linear(number, 'lin1').in_features
        mlp = specialise_in_place(
            anatomy.blocks[number].get_submodule(anatomy.parts[number].mlp), kind
        )
        mlp.add_bottleneck((first, last), width, bias)
        mlps.append(mlp)
    return mlps


class AdapterMLP(BottleneckMLP):
    """A frozen mlp followed by a trained bottleneck with its own skip connection:

        y   = mlp(x)                                                           (..., C)
        out = y + up(GELU(down(y)))

    down: (width, C), normal of std 0.01 cut at two standard deviations, as in the paper; up: (C,
    width), zero, where the paper has down's distribution, so that training starts at SAM itself.
    """

    down_name, up_name = 'adapter_down', 'adapter_up'

    def forward(self, x: Tensor) -> Tensor:
        y = self.base_forward(x)
        return y + self.adapter_up(F.gelu(self.adapter_down(y)))


@PEFT.register_module()
class Adapter(PEFTMethod):
    """An :class:`AdapterMLP` in place of every block's mlp: after the mlp, before the block adds it
    to its residual stream.

    The paper's second adapter of a block, after the attention, and its biases are left out: so
    width 5 has the size published for SAM ViT-H. In the mask decoder it goes into the two-way
    layers. Trains down and up. Does not merge: the bottleneck is not linear.

    Args:
        width: Channels of the bottleneck, at least 1.
        blocks: 'all', 'first:N', 'last:N' or block numbers.
    """

    needs = frozenset({'mlp'})

    def __init__(self, width: int = 5, blocks: Blocks = 'all') -> None:
        self.width, self.blocks = width, blocks

    def inject(self, host: nn.Module) -> None:
        for mlp in specialise_mlps(
            host, self.blocks, AdapterMLP, self.width, of_output=True, bias=False
        ):
            nn.init.trunc_normal_(mlp.adapter_down.weight, std=0.01, a=-0.02, b=0.02)
            nn.init.zeros_(mlp.adapter_up.weight)
