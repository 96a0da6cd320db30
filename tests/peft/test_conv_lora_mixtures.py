"""Forms of Conv-LoRA beside the paper's: each by its formula, and what all of them owe."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft.conv_lora import (
    ConvLoRA,
    ConvLoRALinear,
    balance,
    choice_probabilities,
    top1_gate,
)

from .test_conv_lora import ARCH, close

OPTIONS = [
    dict(gate_weighting=True),
    dict(mixture='expected'),
    dict(mixture='sum'),
    dict(mixture=1),
    dict(mixture=4),
    dict(decay_noise=True),
]


def make(train: bool = False, rank: int = 3, **options) -> ConvLoRALinear:
    """A layer 16 -> 24 with every parameter at a random value."""
    torch.manual_seed(0)
    layer = ConvLoRA(rank=rank, alpha=8.0, num_experts=4, **options).make(nn.Linear(16, 24), None)
    for name, parameter in layer.named_parameters():
        if name.startswith('lora'):
            parameter.data.normal_(std=0.5)
    return layer.train(train)


def expert(layer: ConvLoRALinear, z: Tensor, number: int) -> Tensor:
    """E_s(z) of (B, H, W, r), by torch's own resizing, in float64."""
    s, z = layer.scales[number], z.permute(0, 3, 1, 2)
    y = F.interpolate(z, size=[s * side for side in z.shape[2:]], mode='bicubic')
    weight = layer.lora_conv_weight[number].double(), layer.lora_conv_bias[number].double()
    y = F.gelu(F.conv2d(y, *weight, padding=1))
    return F.interpolate(y, size=z.shape[2:], mode='bicubic').permute(0, 2, 3, 1)


def output(layer: ConvLoRALinear, x: Tensor, mix) -> Tensor:
    """W0 x + b + (alpha / r) B (z + mix(z)), in float64."""
    z = x.double() @ layer.lora_A.double().T
    update = layer.scale * (z + mix(z)) @ layer.lora_B.double().T
    return F.linear(x.double(), layer.weight.double(), layer.bias.double()) + update


def test_how_likely_the_noise_chooses_each_expert():
    """Two experts in closed form, four by adaptive quadrature, equal ones by symmetry."""
    clean, std = torch.tensor([[0.3, -0.4]]), torch.tensor([[0.7, 0.2]])
    exact = norm.cdf(0.7 / math.hypot(0.7, 0.2))
    torch.testing.assert_close(
        choice_probabilities(clean, std)[0].tolist(), [exact, 1 - exact], rtol=1e-4, atol=1e-4
    )
    c, s = [0.5, 0.1, -0.2, 0.4], [0.7, 0.9, 0.3, 0.5]
    for e, got in enumerate(choice_probabilities(torch.tensor([c]), torch.tensor([s]))[0]):
        others = [j for j in range(4) if j != e]
        exact, _ = quad(
            lambda t, e=e, others=others: (
                norm.pdf(t) * math.prod(norm.cdf((c[e] + s[e] * t - c[j]) / s[j]) for j in others)
            ),
            -9,
            9,
        )
        assert got.item() == pytest.approx(exact, abs=1e-6)
    equal = choice_probabilities(torch.zeros(2, 5), torch.full((2, 5), 0.7))
    torch.testing.assert_close(equal, torch.full((2, 5), 0.2))


def test_expected_mixture_in_evaluation():
    layer, x = make(mixture='expected'), torch.randn(3, 5, 4, 16)
    layer.lora_w_gate.data *= 4

    def mix(z: Tensor) -> Tensor:
        p = z.mean((1, 2))
        std = F.softplus(p @ layer.lora_w_noise.double()) + 0.01
        share = choice_probabilities(p @ layer.lora_w_gate.double(), std)
        return sum(share[:, e, None, None, None] * expert(layer, z, e) for e in range(4))

    close(layer(x), output(layer, x, mix))
    assert layer.use is None


def test_expected_mixture_trains_as_the_paper():
    plain, layer, x = make(True), make(True, mixture='expected'), torch.randn(3, 5, 4, 16)
    torch.manual_seed(3)
    expected = plain(x)
    torch.manual_seed(3)
    assert layer(x).equal(expected) and layer.use.equal(plain.use)


@pytest.mark.parametrize('train', [False, True])
def test_sum_of_all_scales(train):
    layer, x = make(train, mixture='sum'), torch.randn(3, 5, 4, 16)
    close(layer(x), output(layer, x, lambda z: sum(expert(layer, z, e) for e in range(4))))


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('scale', [1, 2, 5])
def test_one_scale_for_all(scale, train):
    layer, x = make(train, mixture=scale), torch.randn(3, 5, 4, 16)
    assert layer.scales == (scale,) and layer.lora_conv_weight.shape == (1, 3, 3, 3, 3)
    close(layer(x), output(layer, x, lambda z: expert(layer, z, 0)))


def test_noise_decays_to_the_choice_of_evaluation():
    """Its deviation is (1 - progress) softplus(p w_noise) + 0.01."""
    p, w_gate, w_noise, noise = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0))
    w_gate, w_noise = w_gate[:3], w_noise[:3]  # (r, M) of 3 experts
    for left in (1.0, 0.25, 0.0):
        chosen, clean, _ = top1_gate(p, w_gate, w_noise, noise, torch.tensor(left))
        std = left * F.softplus(p @ w_noise) + 0.01
        assert chosen.equal((clean + std * noise).argmax(-1))
    method, layer = ConvLoRA(decay_noise=True), make(True, decay_noise=True)
    layer.lora_w_gate.data *= 5
    host = nn.Sequential(layer)
    x, same = torch.randn(40, 4, 4, 16), []
    for progress in (0.0, 1.0):
        method.at(progress, host)
        assert layer.decay.item() == 1 - progress
        layer(x)
        torch.manual_seed(0)
        p = (x @ layer.lora_A.T).mean((1, 2))
        same.append((layer.gate(p)[0] == (p @ layer.lora_w_gate).argmax(-1)).float().mean().item())
    assert same[0] < 0.9 and same[1] >= 0.95
    assert make().decay is None and 'decay' not in layer.state_dict()


@pytest.mark.parametrize('options', OPTIONS, ids=str)
class TestAllForms:
    """What data-parallel training, merging, exporting and compiling ask of each."""

    def test_identity_at_the_start_and_gradients_for_all(self, options):
        torch.manual_seed(0)
        peft = dict(type='ConvLoRA', num_experts=3, **options)
        model = SAMViT(ARCH, img_size=64, peft=peft).train()
        plain = SAMViT(ARCH, img_size=64).train()
        plain.load_state_dict(model.state_dict(), strict=False)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert model(x)[0].equal(plain.requires_grad_(False)(x)[0])
        loss = model(x)[0].square().mean() + sum(model.peft.aux_losses(model).values())
        loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    def test_merged(self, options):
        layer, x = make(**options), torch.randn(6, 4, 4, 16)
        expected = layer(x)
        layer.merge()
        close(layer(x), expected)
        layer.unmerge()
        assert layer(x).equal(expected)

    @pytest.mark.slow
    def test_exported_and_compiled(self, options):
        layer, x = make(**options), torch.randn(3, 4, 6, 16)
        expected = layer(x)
        close(torch.export.export(layer, (x,)).module()(x), expected)
        close(torch.compile(layer, fullgraph=True, backend='aot_eager')(x), expected)

    def test_half_precision_stays_finite(self, options):
        layer, x = make(True, **options), torch.randn(3, 4, 4, 16)
        layer.lora_conv_bias.data += 300
        with torch.autocast('cpu', torch.bfloat16):
            y = layer(x)
            (y.float().mean() + (0 if layer.use is None else balance(layer.use))).backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(mixture='mean'), "mixture='mean': use 'chosen', 'expected', 'sum', or the number"),
        (dict(mixture=0), 'mixture=0: use'),
        (dict(mixture=True), 'mixture=True: use'),
        (dict(mixture='sum', gate_weighting=True), "gate_weighting=True .* mixture='sum' chooses"),
        (dict(mixture=1, decay_noise=True), 'decay_noise=True .* mixture=1 evaluates without'),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvLoRA(**settings)
