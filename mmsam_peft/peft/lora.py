"""LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.storage import unpacked
from ..layers.stored_linear import StoredLinear, stored_linear
from ..registry import PEFT
from .base import Mergeable, PEFTMethod
from .placement import Blocks, target_linears
from .qkv import QKVParts, count_rows, scatter_qkv_rows, split_qkv_columns


def low_rank_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, z: Tensor, up: Tensor
) -> Tensor:
    """W x + b + U z for x (..., in), z (..., r) and U (out, r).

    What is kept for the backward pass, beside what the linear layer needs, is as thin as z.
    """
    return add_low_rank(stored_linear(x, weight, bias), z, up)


def add_low_rank(y: Tensor, z: Tensor, up: Tensor) -> Tensor:
    """y + U z in the place of y (..., out), which nobody else holds.

    The product itself adds, so that nothing else as wide as y is made; U^T is laid out row by row,
    so that its gradient is z^T g rather than (g^T z)^T, which a CPU takes many times as long for.
    """
    rows = torch.ops.aten._unsafe_view(
        y, (-1, y.shape[-1])
    )  # no view for autograd: an update of a view copies gradients as wide as y
    update = z.flatten(0, -2).to(y.dtype), up.T.to(y.dtype).contiguous()
    return rows.addmm_(*update).view(y.shape)


class LoRALinear(Mergeable, StoredLinear):
    """A frozen linear layer with a trained low-rank update:

        y = W0 x + b + (alpha / r) * B A x

    A: (r, in), Kaiming-uniform; B: (out, r), zero. ``weight`` and ``bias`` are the base layer's own
    parameters.

    In a fused qkv, the rows of B belong to ``qkv_parts`` only; A is common to them, as it is to q,
    k and v of the whole. With ``split``, each part has an A of its own, and A is (parts * r, in).
    """

    cell_by_cell = True

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        qkv_parts: QKVParts | None = None,
        split: bool = False,
    ) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device='meta')
        self.weight, self.bias = base.weight, base.bias
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        self.scale, self.qkv_parts, self.split = (
            alpha / rank,
            qkv_parts,
            split and qkv_parts is not None,
        )
        factors = len(qkv_parts.chosen) if self.split else 1
        self.lora_A = nn.Parameter(torch.empty(factors * rank, base.in_features, **like))
        self.lora_B = nn.Parameter(
            torch.zeros(count_rows(base.out_features, qkv_parts), rank, **like)
        )
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    @property
    def B(self) -> Tensor:
        """(out, r), or (out, parts * r) where the parts are split."""
        if self.split:
            return split_qkv_columns(self.lora_B, self.qkv_parts)
        return scatter_qkv_rows(self.lora_B, self.qkv_parts)

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return stored_linear(x, self.weight, self.bias)
        return self.updated(x, F.linear(x, self.lora_A))

    def updated(self, x: Tensor, z: Tensor) -> Tensor:
        """W0 x + b + (alpha / r) B z"""
        return low_rank_linear(x, self.weight, self.bias, z, self.scale * self.B)

    def merged_values(self) -> dict[str, Tensor]:
        return dict(weight=unpacked(self.weight) + self.scale * (self.B @ self.lora_A))


@PEFT.register_module()
class LoRA(PEFTMethod):
    """A :class:`LoRALinear` in place of every block's qkv.

    Where q, k and v are one layer, as in SAM's encoder, they have one A and each its rows of B: the
    update of all three together has rank r. Where they are layers of their own, as in SAM's mask
    decoder, each has its A and B: three updates of rank r. With ``split_qkv`` a fused qkv is
    adapted like that too, for 2 r C more parameters.

    Trains A and B. Merges fully: W0 + (alpha / r) B A.

    Args:
        rank: r, at least 1.
        alpha: Numerator of the update's scale.
        targets: Linear layers of a block, of 'qkv', 'q', 'k', 'v', 'proj', 'mlp'.
        blocks: 'all', 'first:N', 'last:N' or block numbers.
        split_qkv: Give q, k and v of a fused qkv an A each. Layers of their own have that anyway.
    """

    merges = 'fully'

    def __init__(
        self,
        rank: int = 3,
        alpha: float = 32,
        targets: Sequence[str] = ('qkv',),
        blocks: Blocks = 'all',
        split_qkv: bool = False,
    ) -> None:
        if rank < 1:
            raise ValueError(
                f'rank={rank}: a low-rank update needs at least rank 1; to train no update use '
                'peft type Frozen.'
            )
        self.rank, self.alpha, self.targets, self.blocks, self.split_qkv = (
            rank,
            alpha,
            targets,
            blocks,
            split_qkv,
        )

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> LoRALinear:
        return LoRALinear(base, self.rank, self.alpha, qkv_parts, self.split_qkv)

    def inject(self, host: nn.Module) -> None:
        for target in target_linears(host, self.targets, self.blocks):
            setattr(target.parent, target.attribute, self.make(target.linear, target.qkv_parts))
