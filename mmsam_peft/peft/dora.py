"""DoRA (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.storage import unpacked
from ..layers.stored_linear import stored_linear
from ..registry import PEFT
from .lora import LoRA, LoRALinear, low_rank_linear
from .qkv import QKVParts, gather_qkv_rows, scatter_qkv_rows


class Gain(torch.autograd.Function):
    """y = d * p + b as it is; d gets the gradient sum_n g_n * (y_n - b) / d, for which nothing but
    y is kept, not p. Where d is 0, p is unknown and the gradient 0.

    y: (..., out); d: (out,); b: (out,) or a scalar.
    """

    @staticmethod
    def forward(y: Tensor, d: Tensor, b: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, None]:
        y, d, b = ctx.saved_tensors
        pairs = g.flatten(0, -2), y.flatten(0, -2)
        if (
            g.device.type == 'cpu'
        ):  # in the cache: another tensor as wide as y would take longer than all the rest
            pairs = zip(*(rows.split(256) for rows in pairs), strict=True)
        else:
            pairs = [pairs]
        total = sum((g * (y - b)).sum(0, dtype=d.dtype) for g, y in pairs)
        return g, torch.where(d == 0, 0, total / d), None


class DoRALinear(LoRALinear):
    """LoRA that trains the length of every row of the weight apart from its direction (paper, eq.
    5):

        V  = W0 + (alpha / r) B A                                              (out, in)
        y  = (m / ||V||) * V x + b

    with ||V|| the norm of each row, which the backward pass takes for a constant (section 4.3): the
    gradients of A and B are not those of y. m: (out,), at first ||V||, so that y is what LoRA
    gives. With ``qkv_parts`` m, like B, has their rows only. A state dict with a weight but no
    magnitude, such as SAM's, sets m to ||V|| again.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        qkv_parts: QKVParts | None = None,
        split: bool = False,
    ) -> None:
        super().__init__(base, rank, alpha, qkv_parts, split)
        self.lora_magnitude = nn.Parameter(self.norms())

    @torch.no_grad()
    def norms(self) -> Tensor:
        """||V|| of the rows that have a magnitude, in its dtype; computed in float32 at least, and
        without storing V:

            ||V_i||^2 = ||W0_i||^2 + 2 s <W0_i A^T, B_i> + s^2 B_i A A^T B_i^T,   s = alpha / r

        A row of zeros has the smallest normal number instead: m / ||V|| is never 0 / 0.
        """
        dtype, s = self.lora_A.dtype, self.scale
        W, A, B = (
            p.to(torch.promote_types(dtype, torch.float32))
            for p in (unpacked(self.weight), self.lora_A, self.B)
        )
        cross = 2 * s * F.linear(W, A) + s * s * F.linear(B, A @ A.T)  # (out, r)
        square = torch.linalg.vector_norm(W, dim=1).square() + (cross * B).sum(1)
        norms = square.clamp_min(0).sqrt().to(dtype).clamp_min(torch.finfo(dtype).tiny)
        return gather_qkv_rows(norms, self.qkv_parts)

    def excess(self) -> Tensor:
        """m / ||V|| - 1, (out,), in float32 at least, under autocast too; 0 for rows without a
        magnitude."""
        dtype = torch.promote_types(self.lora_A.dtype, torch.float32)
        with torch.autocast(self.weight.device.type, enabled=False):
            return scatter_qkv_rows(
                self.lora_magnitude.to(dtype) / self.norms().to(dtype) - 1, self.qkv_parts
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return stored_linear(x, self.weight, self.bias)
        excess = self.excess()
        gain, z = 1 + excess, F.linear(x, self.lora_A)
        if self.weight.dtype != self.lora_A.dtype:  # stored in fewer bits, which a product loses
            p = low_rank_linear(x, self.weight, None, z, self.scale * self.B)
            y = torch.addcmul(p, p, excess.detach().to(p.dtype))
            y = y if self.bias is None else y + self.bias.to(y.dtype)
            return self.with_gain(y, gain)
        weight, up = (
            (gain.detach()[:, None] * p).to(self.weight.dtype)
            for p in (self.weight, self.scale * self.B)
        )
        return self.with_gain(low_rank_linear(x, weight, self.bias, z, up), gain)

    def with_gain(self, y: Tensor, gain: Tensor) -> Tensor:
        """y, whose gradient also reaches the magnitude."""
        return Gain.apply(y, gain, y.new_zeros(()) if self.bias is None else self.bias.detach())

    def merged_values(self) -> dict[str, Tensor]:
        V = super().merged_values()['weight']
        return dict(weight=torch.addcmul(V, self.excess()[:, None], V).to(V.dtype))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if f'{prefix}weight' in state_dict and f'{prefix}lora_magnitude' not in state_dict:
            self.lora_magnitude.data.copy_(self.norms())


@PEFT.register_module()
class DoRA(LoRA):
    """A :class:`DoRALinear` in place of every block's fused qkv.

    Trains A, B and m. Merges fully: (m / ||V||) * V. Takes LoRA's arguments.
    """

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> DoRALinear:
        return DoRALinear(base, self.rank, self.alpha, qkv_parts, self.split_qkv)
