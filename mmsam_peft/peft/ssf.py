"""SSF (Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022)."""
import torch
from torch import Tensor, nn

from ..registry import PEFT
from .base import Mergeable, PEFTMethod
from .placement import Blocks, chosen_blocks, extend


def spread(values: Tensor, axes: int) -> Tensor:
    """(C,) to (C, 1, .., 1), with ``axes`` axes behind the channels."""
    return values.view(-1, *[1] * axes)


class ScaledShifted(Mergeable):
    """Mixin of a frozen layer f with weight and bias whose C output channels are scaled and shifted:

        y = gamma * f(x) + beta

    gamma, beta: (C,), 1 and 0. It is computed as f(x) + ((gamma - 1) * f(x) + beta) in the type of f(x): bfloat16, which has
    steps of 1/128 above 1, would round gamma itself for the whole channel.
    """

    axes = 0
    """The axes of y behind the channels."""

    def add_parameters(self) -> None:
        self.ssf_gamma = nn.Parameter(self.weight.new_ones(len(self.weight)))
        self.ssf_beta = nn.Parameter(self.weight.new_zeros(len(self.weight)))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.merged:
            return y
        scale = spread(self.ssf_gamma - 1, self.axes).to(y.dtype)
        shift = spread(self.ssf_beta, self.axes).to(y.dtype)
        return y + torch.addcmul(shift, y, scale)

    def merged_values(self) -> dict[str, Tensor]:
        return dict(weight=spread(self.ssf_gamma, self.weight.dim() - 1) * self.weight,
                    bias=self.ssf_gamma * self.bias + self.ssf_beta)


class SSFLinear(ScaledShifted, nn.Linear):
    """(..., in) -> (..., C)"""


class SSFLayerNorm(ScaledShifted, nn.LayerNorm):
    """(..., C) -> (..., C)"""


class SSFConv2d(ScaledShifted, nn.Conv2d):
    """(B, in, H, W) -> (B, C, H', W')"""

    axes = 2


KINDS = {nn.Linear: SSFLinear, nn.LayerNorm: SSFLayerNorm, nn.Conv2d: SSFConv2d}


@PEFT.register_module()
class SSF(PEFTMethod):
    """A scale and a shift after every linear layer and norm of the blocks, and after the patch embedding.

    Trains gamma and beta. The paper draws them from N(1, 0.02) and N(0, 0.02); here they are 1 and 0, so that the host starts
    unchanged. Merges fully: gamma W and gamma b + beta, for weight W and bias b.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. The patch embedding is adapted if block 0 is; what follows the
            blocks (the neck) never.
    """

    in_decoder = True
    merges = 'fully'

    def __init__(self, blocks: Blocks = 'all') -> None:
        self.blocks = blocks

    def inject(self, host: nn.Module) -> None:
        chosen = chosen_blocks(host, self.blocks)
        parts = list(chosen.values())
        if 0 in chosen and hasattr(host, 'patch_embed'):
            parts.append(host.patch_embed)
        for layer in (layer for part in parts for layer in part.modules()):
            for base, kind in KINDS.items():
                if isinstance(layer, base):
                    extend(layer, kind).add_parameters()
