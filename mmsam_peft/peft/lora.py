"""LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022)."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import PEFT
from .base import PEFTMethod, target_linears


class LoRALinear(nn.Linear):
    """A frozen linear layer with a trained low-rank update:

        y = W0 x + b + (alpha / r) * B A x

    A: (r, in), Kaiming-uniform; B: (out, r), zero. ``weight`` and ``bias`` are the base layer's own parameters.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device='meta')
        self.weight, self.bias = base.weight, base.bias
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        self.scale = alpha / rank
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, **like))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, **like))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.unmerged: Tensor | None = None

    @property
    def merged(self) -> bool:
        return self.unmerged is not None

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if self.merged:
            return y
        return y + self.scale * F.linear(F.linear(x, self.lora_A), self.lora_B)

    @torch.no_grad()
    def merge(self) -> None:
        if not self.merged:
            self.unmerged = self.weight.clone()
            self.weight += self.scale * (self.lora_B @ self.lora_A)

    @torch.no_grad()
    def unmerge(self) -> None:
        if self.merged:
            self.weight.copy_(self.unmerged)
            self.unmerged = None


@PEFT.register_module()
class LoRA(PEFTMethod):
    """A :class:`LoRALinear` in place of every block's fused ``attn.qkv``.

    Trains A and B. Merges fully: W0 + (alpha / r) B A.

    Args:
        rank: r, at least 1.
        alpha: Numerator of the update's scale.
        targets: Linear layers of a block: 'attn.qkv', 'attn.proj', 'mlp.lin1', 'mlp.lin2'.
    """

    def __init__(self, rank: int = 3, alpha: float = 32, targets: Sequence[str] = ('attn.qkv',)) -> None:
        if rank < 1:
            raise ValueError(f'rank={rank}: a low-rank update needs at least rank 1; to train no update take peft type Frozen.')
        self.rank, self.alpha, self.targets = rank, alpha, targets

    def make(self, base: nn.Linear) -> LoRALinear:
        return LoRALinear(base, self.rank, self.alpha)

    def inject(self, encoder: nn.Module) -> None:
        for parent, attribute, linear in target_linears(encoder, self.targets):
            setattr(parent, attribute, self.make(linear))

    def merge(self, encoder: nn.Module) -> None:
        for layer in lora_layers(encoder):
            layer.merge()

    def unmerge(self, encoder: nn.Module) -> None:
        for layer in lora_layers(encoder):
            layer.unmerge()


def lora_layers(encoder: nn.Module) -> list[LoRALinear]:
    return [module for module in encoder.modules() if isinstance(module, LoRALinear)]
