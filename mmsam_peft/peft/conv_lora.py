"""Conv-LoRA (Zhong et al., "Convolution Meets LoRA: Parameter Efficient Finetuning for Segment
Anything Model", ICLR 2024)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.constants import is_exporting
from ..layers.stored_linear import stored_linear
from ..layers.token_layout import TokenLayout
from ..layers.windows import map_of, padded_to, windows_of
from ..registry import PEFT
from .anatomy import anatomy_of
from .experts import all_experts, chosen_experts
from .lora import LoRA, LoRALinear, add_low_rank
from .placement import Blocks
from .qkv import QKVParts

MIXTURES = ('chosen', 'expected', 'sum')


def top1_gate(
    p: Tensor, w_gate: Tensor, w_noise: Tensor, noise: Tensor | None, decay: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy top-1 gating (Shazeer et al., "Outrageously Large Neural Networks", 2017, eq. 3-10).

    Args:
        p: (B, r), what the gate looks at.
        w_gate, w_noise: (r, M).
        noise: (B, M) standard normal draw in training, None in evaluation.
        decay: What is left of the noise, 1 to 0; None is 1.

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
    std = noise_deviation(p, w_noise, decay)
    values, index = torch.addcmul(clean, noise, std).topk(2)
    expert, chosen = index[:, 0], index[:, :1] == numbers
    # an expert stays chosen while above the second, or becomes chosen when above the first
    threshold = torch.where(chosen, values[:, 1:], values[:, :1])
    load = torch.special.ndtr((clean - threshold) / std).sum(0)
    return expert, clean, torch.stack([chosen.sum(0, dtype=clean.dtype), load])


def noise_deviation(p: Tensor, w_noise: Tensor, decay: Tensor | None = None) -> Tensor:
    """The standard deviation of the gate's noise, (B, M)."""
    spread = F.softplus(p @ w_noise)
    return (spread if decay is None else spread * decay) + 0.01


def choice_probabilities(clean: Tensor, std: Tensor) -> Tensor:
    """How likely the noise makes each expert the chosen one, (B, M):

        P(e) = E_t[prod_{j != e} Phi((c_e + std_e t - c_j) / std_j)],   t ~ N(0, 1)

    by the trapezoidal rule in steps of 1/8, in float64; divided by their sum. An exported graph
    computes them in float32: runtimes have no other error function.
    """
    dtype = torch.float32 if is_exporting() else torch.float64
    c, std = clean.to(dtype), std.to(dtype)
    t = torch.linspace(-8, 8, 129, dtype=c.dtype, device=c.device)
    noisy = c[..., None] + std[..., None] * t  # (B, e, t)
    below = (noisy[:, :, None] - c[:, None, :, None]) / std[:, None, :, None]  # (B, e, j, t)
    own = torch.eye(c.shape[-1], dtype=torch.bool, device=c.device)[None, :, :, None]
    p = torch.special.ndtr(below).masked_fill(own, 1).prod(2) @ (-t.square() / 2).softmax(0)
    return (p / p.sum(-1, keepdim=True)).to(clean.dtype)


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
    reference program, unless ``gate_weighting``. Tokens (B, N, in) are taken as ``layout`` says, or
    as a square map; class and register tokens before the map go by the experts, with E_e(z) = 0.

    ``mixture`` names other forms of E: in evaluation 'expected', sum_e P(e) E_e(z), what the noise
    of the training makes of it on average; 'sum', sum_s E_s(z); or a scale s, E_s(z) alone. The
    last two have no gate.

    Every sample takes its expert by an index, without host synchronisation, and every parameter has
    a gradient in every step; ``experts.py`` says how E is computed. Gate and experts run in float32
    at least, whatever the precision around them.
    """

    cell_by_cell = False

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        num_experts: int,
        gate_weighting: bool,
        qkv_parts: QKVParts | None = None,
        mixture: str | int = 'chosen',
        decay_noise: bool = False,
    ) -> None:
        super().__init__(base, rank, alpha, qkv_parts)
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        self.gate_weighting, self.mixture = gate_weighting, mixture
        self.scales = (mixture,) if isinstance(mixture, int) else tuple(range(1, num_experts + 1))
        self.num_experts = num_experts = len(self.scales)
        self.gated = mixture in ('chosen', 'expected')
        decay = torch.ones((), device=base.weight.device) if decay_noise else None
        self.register_buffer('decay', decay, persistent=False)
        self.lora_conv_weight = nn.Parameter(torch.empty(num_experts, rank, rank, 3, 3, **like))
        self.lora_conv_bias = nn.Parameter(torch.zeros(num_experts, rank, **like))
        for weight in self.lora_conv_weight:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if self.gated:
            self.lora_w_gate = nn.Parameter(torch.zeros(rank, num_experts, **like))
            self.lora_w_noise = nn.Parameter(torch.zeros(rank, num_experts, **like))
        self.use: Tensor | None = None
        self.layout: TokenLayout | None = None

    def forward(self, x: Tensor) -> Tensor:
        z = F.linear(x, self.lora_A)
        if x.dim() == 3:
            layout = self.layout or _square(x.shape[1])
            mixed = layout.to_tokens(self.experts(layout.to_map(z)), x.shape[1]).to(z.dtype)
        else:
            mixed = self.experts(z).to(z.dtype)
        return self.updated(x, mixed if self.merged else z + mixed)

    def in_windows(self, x: Tensor, window: int) -> Tensor:
        """As ``forward`` for every zero-padded window of a map (B, H, W, in) by itself, together
        (B, Hp, Wp, out). W0 gets the map's own cells alone: of a padded one it makes b."""
        z = padded_to(F.linear(x, self.lora_A), window)
        windows = windows_of(z, window)
        mixed = self.experts(windows.flatten(0, 2)).to(z.dtype)
        mixed = map_of(mixed.unflatten(0, windows.shape[:3]))
        y = stored_linear(x, self.weight, self.bias)
        bias = y.new_zeros(y.shape[-1]) if self.bias is None else self.bias.to(y.dtype)
        y = padded_to(y, window, bias[None, None, None])
        return add_low_rank(y, mixed if self.merged else z + mixed, self.scale * self.B)

    def experts(self, z: Tensor) -> Tensor:
        """E_e(z) of each sample, (B, H, W, r), in float32 at least; in training, the experts'
        ``use`` is left behind."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            convs = self.lora_conv_weight.to(z.dtype), self.lora_conv_bias.to(z.dtype)
            if not self.gated:
                return all_experts(z, *convs, self.scales).sum(0)
            if self.mixture == 'expected' and not self.training and self.num_experts > 1:
                share = self.probabilities(z.mean((1, 2))).T[:, :, None, None, None]
                return (share * all_experts(z, *convs)).sum(0)
            expert, factor = self.gate(z.mean((1, 2)))
            y = chosen_experts(z, *convs, expert)
            return y if factor is None else y * factor[:, None, None, None]

    def gate(self, p: Tensor) -> tuple[Tensor, Tensor | None]:
        """The expert's number and, where its output has one, its factor, each (B,), for pooled
        bottlenecks (B, r)."""
        w_gate, w_noise = self.lora_w_gate.to(p.dtype), self.lora_w_noise.to(p.dtype)
        if self.num_experts == 1:  # nothing to choose; the gate's parameters take part with zero
            return p.new_zeros(p.shape[0], dtype=torch.long), p.new_ones(p.shape[0]) + 0 * (
                w_gate.sum() + w_noise.sum()
            )
        noise = (
            torch.randn(p.shape[0], self.num_experts, device=p.device, dtype=p.dtype)
            if self.training
            else None
        )
        expert, clean, use = top1_gate(p, w_gate, w_noise, noise, self.decay)
        if self.training:
            self.use = use
        return expert, clean.softmax(-1).gather(1, expert[:, None])[
            :, 0
        ] if self.gate_weighting else None

    def probabilities(self, p: Tensor) -> Tensor:
        """How likely the noise of the training chooses each expert, (B, M), for pooled bottlenecks
        (B, r)."""
        clean, w_noise = p @ self.lora_w_gate.to(p.dtype), self.lora_w_noise.to(p.dtype)
        return choice_probabilities(clean, noise_deviation(p, w_noise, self.decay))

    def __getstate__(self) -> dict:
        return {**self.__dict__, 'use': None}  # part of a graph, which neither copies nor pickles


def _square(count: int) -> TokenLayout:
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f'{count} tokens are no square map: give a (B, H, W, C) map instead.')
    return TokenLayout((side, side))


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
        mixture: 'chosen', the gate's choice, is the paper's. 'expected': in evaluation, the mean
            over what the noise would choose. 'sum': all scales added, without a gate. A whole
            number: this scale for all samples, without a gate; 1 is the map's own resolution.
        decay_noise: Let the gate's noise fall linearly to zero over the training, so that in the
            end it chooses as it will in evaluation.
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
        mixture: str | int = 'chosen',
        decay_noise: bool = False,
    ) -> None:
        super().__init__(rank, alpha, targets, blocks)
        if num_experts < 1:
            raise ValueError(
                f'num_experts={num_experts}: needs at least 1; for none use peft type LoRA.'
            )
        scale = isinstance(mixture, int) and not isinstance(mixture, bool)
        if mixture not in MIXTURES and not (scale and mixture >= 1):
            raise ValueError(
                f'mixture={mixture!r}: use {", ".join(map(repr, MIXTURES))}, or the number of a '
                'scale, 1, 2, ...'
            )
        if gate_weighting and mixture != 'chosen':
            raise ValueError(
                f"gate_weighting=True multiplies the chosen expert's output, and "
                f'mixture={mixture!r} chooses none: leave one of them out.'
            )
        if decay_noise and mixture != 'chosen':
            raise ValueError(
                f'decay_noise=True is for the noise that mixture={mixture!r} evaluates without: '
                'leave one of them out.'
            )
        self.num_experts, self.gate_weighting, self.balance_weight = (
            num_experts,
            gate_weighting,
            balance_weight,
        )
        self.mixture, self.decay_noise = mixture, decay_noise

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> ConvLoRALinear:
        return ConvLoRALinear(
            base,
            self.rank,
            self.alpha,
            self.num_experts,
            self.gate_weighting,
            qkv_parts,
            self.mixture,
            self.decay_noise,
        )

    def inject(self, host: nn.Module) -> None:
        super().inject(host)
        layout = anatomy_of(host).layout
        for layer in host.modules():
            if isinstance(layer, ConvLoRALinear):
                layer.layout = layout

    def at(self, progress: float, host: nn.Module) -> None:
        for layer in host.modules():
            if isinstance(layer, ConvLoRALinear) and layer.decay is not None:
                layer.decay.fill_(1 - progress)

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
