"""AdaptFormer (Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual
Recognition", NeurIPS 2022)."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import PEFT
from .adapter import BottleneckMLP, specialise_mlps
from .base import PEFTMethod
from .placement import Blocks


class AdaptMLP(BottleneckMLP):
    """A frozen mlp with a trained bottleneck beside it. For x of (..., C), the normalised map:

        y = mlp(x) + scale * up(ReLU(down(x)))

    down: (width, C), Kaiming-uniform, and a bias; up: (C, width) and a bias. All but down's weight
    start at zero.
    """

    down_name, up_name = 'adapt_down', 'adapt_up'

    def forward(self, x: Tensor) -> Tensor:
        return self.base_forward(x) + self.adapt_scale * self.adapt_up(F.relu(self.adapt_down(x)))


@PEFT.register_module()
class AdaptFormer(PEFTMethod):
    """An :class:`AdaptMLP` in place of every block's mlp. With x' the block's map after its
    attention:

        out = x' + mlp(LN(x')) + scale * up(ReLU(down(LN(x'))))

    This is the paper's equation, in which both branches see LN(x'). By default the authors' program
    leaves the new branch's norm out, and drops out part of its bottleneck. In the mask decoder it
    goes into the two-way layers, whose mlp sees normalised tokens too. Trains down and up with
    their biases. Does not merge: the branch is not linear.

    Args:
        width: Channels of the bottleneck, at least 1.
        scale: What the branch is multiplied by.
        blocks: 'all', 'first:N', 'last:N' or block numbers.
    """

    needs = frozenset({'mlp'})

    def __init__(self, width: int = 64, scale: float = 0.1, blocks: Blocks = 'all') -> None:
        self.width, self.scale, self.blocks = width, scale, blocks

    def inject(self, host: nn.Module) -> None:
        for mlp in specialise_mlps(
            host, self.blocks, AdaptMLP, self.width, of_output=False, bias=True
        ):
            mlp.adapt_scale = self.scale
            nn.init.kaiming_uniform_(mlp.adapt_down.weight, a=math.sqrt(5))
            for zero in (mlp.adapt_down.bias, mlp.adapt_up.weight, mlp.adapt_up.bias):
                nn.init.zeros_(zero)
