"""Adapters (Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019)."""
import torch.nn.functional as F
from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn

from ..registry import PEFT
from .base import PEFTMethod
from .placement import Blocks, chosen_blocks, extend


def chosen_mlps(host: nn.Module, blocks: Blocks) -> list[MLPBlock]:
    """The mlps of the blocks that ``blocks`` names; the decoder's final attention has none. ValueError when none is left."""
    mlps = [block.mlp for block in chosen_blocks(host, blocks).values() if hasattr(block, 'mlp')]
    if not mlps:
        raise ValueError(f"blocks={blocks!r} names only the decoder's final attention, which has no mlp to adapt: take 'all' "
                         f'or two-way layers, 0 to {len(host.layers) - 1}.')
    return mlps


def bottleneck(mlp: MLPBlock, width: int, bias: bool) -> tuple[nn.Linear, nn.Linear]:
    """Layers C -> width -> C, yet to be given their initial values, for an mlp of C channels; of its device and dtype."""
    if width < 1:
        raise ValueError(f'width={width}: a bottleneck needs at least width 1; to train no update take peft type Frozen.')
    base = mlp.lin1.weight
    like = dict(bias=bias, device=base.device, dtype=base.dtype)
    return nn.Linear(base.shape[1], width, **like), nn.Linear(width, base.shape[1], **like)


class AdapterMLP(MLPBlock):
    """A frozen mlp followed by a trained bottleneck with its own skip connection:

        y   = mlp(x)                                                           (..., C)
        out = y + up(GELU(down(y)))

    down: (width, C), normal of std 0.01 cut at two standard deviations, as in the paper; up: (C, width), zero, where the
    paper has down's distribution, so that training starts at SAM itself.
    """

    def add_adapter(self, width: int) -> None:
        self.adapter_down, self.adapter_up = bottleneck(self, width, bias=False)
        nn.init.trunc_normal_(self.adapter_down.weight, std=0.01, a=-0.02, b=0.02)
        nn.init.zeros_(self.adapter_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + self.adapter_up(F.gelu(self.adapter_down(y)))


@PEFT.register_module()
class Adapter(PEFTMethod):
    """An :class:`AdapterMLP` in place of every block's mlp: after the mlp, before the block adds it to its residual stream.

    The paper's second adapter of a block, after the attention, and its biases are left out: so width 5 has the size published
    for SAM ViT-H. In the mask decoder it goes into the two-way layers. Trains down and up. Does not merge: the bottleneck is
    not linear.

    Args:
        width: Channels of the bottleneck, at least 1.
        blocks: 'all', 'first:N', 'last:N' or block numbers.
    """

    in_decoder = True

    def __init__(self, width: int = 5, blocks: Blocks = 'all') -> None:
        self.width, self.blocks = width, blocks

    def inject(self, host: nn.Module) -> None:
        for mlp in chosen_mlps(host, self.blocks):
            extend(mlp, AdapterMLP).add_adapter(self.width)
