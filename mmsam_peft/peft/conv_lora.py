"""Conv-LoRA (Zhong et al., "Convolution Meets LoRA: Parameter Efficient Finetuning for Segment
Anything Model", ICLR 2024)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import PEFT
from .experts import chosen_experts
from .lora import LoRA, LoRALinear
from .placement import Blocks
from .qkv import QKVParts


def top1_gate(
    p: Tensor, w_gate: Tensor, w_noise: Tensor, noise: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy top-1 gating (Shazeer et al., "Outrageously Large Neural Networks", 2017, eq. 3-10).

    Args:
        p: (B, r), what the gate looks at.
        w_gate, w_noise: (r, M).
        noise: (B, M) standard normal draw in training, None in evaluation.

    Returns:
        The chosen expert's number (B,); the clean logits (B, M); the experts' use (2, M):
        importance, how many samples chose them, and load, its smooth estimate in training and the
        same counts in evaluation.
    """
    clean = p @ w_gate
    numbers = torch.arange(clean.shape[-1], device=p.device)
    if noise is None:
        expert = clean.argmax(-1)
        importance = (expert[:, None] == numbers).sum(0, dtype=clean.dtype)
        return expert, clean, torch.stack([importance, importance])
    std = F.softplus(p @ w_noise) + 0.01
    values, index = torch.addcmul(clean, noise, std).topk(2)
    expert, chosen = index[:, 0], index[:, :1] == numbers
    # an expert stays chosen while above the second, or becomes chosen when above the first
    threshold = torch.where(chosen, values[:, 1:], values[:, :1])
    load = torch.special.ndtr((clean - threshold) / std).sum(0)
    return expert, clean, torch.stack([chosen.sum(0, dtype=clean.dtype), load])


def balance(use: Tensor) -> Tensor:
    """0.01 * (CV^2(importance) + CV^2(load)) of (L, 2, M), summed over L layers. CV^2, the squared
    coefficient of variation of the M values, is 0 when all are equal."""
    variance, mean = torch.var_mean(use, -1)
    return 0.01 * (variance / (mean**2 + 1e-10)).sum()


class ConvLoRALinear(LoRALinear):
    """LoRA with a mixture of convolutional experts in its bottleneck (paper, eq. 3-5). For x of (B,
    H, W, in):

        z   = A x                                                              (B, H, W, r)
        y   = W0 x + b + (alpha / r) * B (z + E_e(z))
        E_s = down_s(GELU(conv3x3_s(up_s(z)))),   s = 1 .. M

    up_s and down_s are bicubic resizing by s and back; conv3x3 maps r to r channels with a bias.
    The gate chooses e for each sample from the mean of z over its map; a window of a windowed block
    is a sample of its own. The chosen output is not multiplied by the gate's probability, as in the
    reference program, unless ``gate_weighting``. Tokens (B, N, in) are taken as a square map.

    Every sample takes its expert by an index, without host synchronisation, and every parameter has
    a gradient in every step; ``experts.py`` says how E is computed. Gate and experts run in float32
    at least, whatever the precision around them.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        num_experts: int,
        gate_weighting: bool,
        qkv_parts: QKVParts | None = None,
    ) -> None:
        super().__init__(base, rank, alpha, qkv_parts)
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        self.num_experts, self.gate_weighting = num_experts, gate_weighting
        self.lora_conv_weight = nn.Parameter(torch.empty(num_experts, rank, rank, 3, 3, **like))
        self.lora_conv_bias = nn.Parameter(torch.zeros(num_experts, rank, **like))
        for weight in self.lora_conv_weight:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.lora_w_gate = nn.Parameter(torch.zeros(rank, num_experts, **like))
        self.lora_w_noise = nn.Parameter(torch.zeros(rank, num_experts, **like))
        self.use: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        if x.dim() == 3:
            side = math.isqrt(shape[1])
            if side * side != shape[1]:
                raise ValueError(
                    f'{shape[1]} tokens are no square map: give a (B, H, W, C) map instead.'
                )
            x = x.unflatten(1, (side, side))
        z = F.linear(x, self.lora_A)
        mixed = self.experts(z).to(z.dtype)
        return self.updated(x, mixed if self.merged else z + mixed).view(*shape[:-1], -1)

    def experts(self, z: Tensor) -> Tensor:
        """E_e(z) of each sample, (B, H, W, r), in float32 at least; in training, the experts'
        ``use`` is left behind."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            expert, factor = self.gate(z.mean((1, 2)))
            y = chosen_experts(
                z, self.lora_conv_weight.to(z.dtype), self.lora_conv_bias.to(z.dtype), expert
            )
            return y if factor is None else y * factor[:, None, None, None]

    def gate(self, p: Tensor) -> tuple[Tensor, Tensor | None]:
        """The expert's number and, where its output has one, its factor, each (B,), for pooled
        bottlenecks (B, r)."""
        w_gate, w_noise = self.lora_w_gate.to(p.dtype), self.lora_w_noise.to(p.dtype)
        if self.num_experts == 1:  # nothing to choose; the gate's parameters take part with zero
            return p.new_zeros(len(p), dtype=torch.long), p.new_ones(len(p)) + 0 * (
                w_gate.sum() + w_noise.sum()
            )
        noise = (
            torch.randn(len(p), self.num_experts, device=p.device, dtype=p.dtype)
            if self.training
            else None
        )
        expert, clean, use = top1_gate(p, w_gate, w_noise, noise)
        if self.training:
            self.use = use
        return expert, clean.softmax(-1).gather(1, expert[:, None])[
            :, 0
        ] if self.gate_weighting else None

    def __getstate__(self) -> dict:
        return {**self.__dict__, 'use': None}  # part of a graph, which neither copies nor pickles


@PEFT.register_module()
class ConvLoRA(LoRA):
    """A :class:`ConvLoRALinear` in place of every block's fused qkv.

    Trains A, B, the experts and the gate; ``loss_balance`` keeps the experts in use. Merges its
    linear part: W0 + (alpha / r) B A; the experts stay beside it. Needs maps, so it does not go
    into the mask decoder, whose layers see tokens.

    Args:
        rank, alpha, targets, blocks: As for LoRA.
        num_experts: M; expert s works at s times the map's resolution.
        gate_weighting: Multiply the chosen output by the gate's probability, so that the task
            trains the gate too.
        balance_weight: Weight of the balance losses' sum over the layers (paper: 1.0 binary, 2.0
            multi-class).
    """

    needs = frozenset({'maps'})
    merges = 'in part'

    def __init__(
        self,
        rank: int = 3,
        alpha: float = 32,
        num_experts: int = 8,
        gate_weighting: bool = False,
        balance_weight: float = 1.0,
        targets: Sequence[str] = ('qkv',),
        blocks: Blocks = 'all',
    ) -> None:
        super().__init__(rank, alpha, targets, blocks)
        if num_experts < 1:
            raise ValueError(
                f'num_experts={num_experts}: needs at least 1; for none use peft type LoRA.'
            )
        self.num_experts, self.gate_weighting, self.balance_weight = (
            num_experts,
            gate_weighting,
            balance_weight,
        )

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> ConvLoRALinear:
        return ConvLoRALinear(
            base, self.rank, self.alpha, self.num_experts, self.gate_weighting, qkv_parts
        )

    def aux_losses(self, host: nn.Module) -> dict[str, Tensor]:
        layers = [
            layer
            for layer in host.modules()
            if isinstance(layer, ConvLoRALinear) and layer.use is not None
        ]
        uses = [layer.use for layer in layers]
        for layer in layers:
            layer.use = None
        return {'loss_balance': self.balance_weight * balance(torch.stack(uses))} if uses else {}
