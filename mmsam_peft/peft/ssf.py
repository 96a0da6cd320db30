"""SSF (Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
NeurIPS 2022)."""

import torch
from torch import Tensor, nn

from ..layers.conv_norm import ConvNorm
from ..layers.storage import unpacked
from ..registry import PEFT
from .anatomy import anatomy_of
from .base import Mergeable, PEFTMethod
from .placement import Blocks, chosen_blocks, specialise_in_place


def spread(values: Tensor, axes: int) -> Tensor:
    """(C,) to (C, 1, .., 1), with ``axes`` axes behind the channels."""
    return values.view(-1, *[1] * axes)


class ScaledShifted(Mergeable):
    """Mixin of a frozen layer f whose C output channels are scaled and shifted:

        y = gamma * f(x) + beta

    gamma, beta: (C,), 1 and 0. Where f has no bias that beta could be merged into, there is none.
    It is computed as f(x) + ((gamma - 1) * f(x) + beta) in the type of f(x): bfloat16, which has
    steps of 1/128 above 1, would round gamma itself for the whole channel.
    """

    axes = 0
    """The axes of y behind the channels."""
    cell_by_cell = True

    def add_parameters(self) -> None:
        self.ssf_gamma = nn.Parameter(self.weight.new_ones(len(self.weight)))
        if self.bias is not None:
            self.ssf_beta = nn.Parameter(self.weight.new_zeros(len(self.weight)))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.merged:
            return y
        scale = spread(self.ssf_gamma - 1, self.axes).to(y.dtype)
        if self.bias is None:
            return y + y * scale
        shift = spread(self.ssf_beta, self.axes).to(y.dtype)
        return y + torch.addcmul(shift, y, scale)

    def merged_values(self) -> dict[str, Tensor]:
        weight = unpacked(self.weight)
        values = dict(weight=spread(self.ssf_gamma, weight.dim() - 1) * weight)
        if self.bias is not None:
            values['bias'] = self.ssf_gamma * self.bias + self.ssf_beta
        return values


class ScaledShiftedMap(ScaledShifted):
    """(B, in, H, W) -> (B, C, H', W')"""

    axes = 2


class ScaledShiftedConvNorm(ScaledShiftedMap):
    """A convolution and its norm, which takes the update."""

    def merged_values(self) -> dict[str, Tensor]:
        return {f'bn.{name}': value for name, value in super().merged_values().items()}


KINDS = {
    nn.Linear: ScaledShifted,
    nn.LayerNorm: ScaledShifted,
    nn.Conv2d: ScaledShiftedMap,
    ConvNorm: ScaledShiftedConvNorm,
}


@PEFT.register_module()
class SSF(PEFTMethod):
    """A scale and a shift after every linear layer and norm of the blocks, and after the patch
    embedding; a scale alone where the layer has no bias, as SAM 3's patch embedding. A convolution
    with its batch norm counts as one layer.

    Trains gamma and beta. The paper draws them from N(1, 0.02) and N(0, 0.02); here they are 1 and
    0, so that the host starts unchanged. Merges fully: gamma W and gamma b + beta, for weight W and
    bias b.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. The patch embedding is adapted if block
            0 is; what follows the blocks (the neck) never.

    Raises:
        ValueError: No such block; a norm of another kind than nn.LayerNorm; a layer without weight.
    """

    merges = 'fully'

    def __init__(self, blocks: Blocks = 'all') -> None:
        self.blocks = blocks

    def inject(self, host: nn.Module) -> None:
        anatomy, chosen = anatomy_of(host), chosen_blocks(host, self.blocks)
        inside = {layer for block in chosen.values() for layer in block.modules()}
        found, inner = {}, set()
        for path, layer in host.named_modules():
            if isinstance(layer, ConvNorm):
                inner |= {*layer.children()}
            if layer in inner:
                continue
            if layer in inside or 0 in chosen and f'{path}.'.startswith(anatomy.before):
                kind = next((kind for base, kind in KINDS.items() if isinstance(layer, base)), None)
                if kind is None and isinstance(layer, anatomy.norms):
                    raise ValueError(
                        f'SSF scales nn.LayerNorm, and {path} is a {type(layer).__name__}: choose '
                        'other blocks.'
                    )
                if kind and layer.weight is None:
                    raise ValueError(
                        f'SSF merges into the weight, and {path}, a {type(layer).__name__}, has '
                        'none: choose other blocks, or peft type LoRA.'
                    )
                if kind:
                    found[layer] = kind
        for layer, kind in found.items():
            specialise_in_place(layer, kind).add_parameters()
