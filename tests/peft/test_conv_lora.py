import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import experts
from mmsam_peft.peft.conv_lora import ConvLoRALinear, balance, top1_gate

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
PARAMETERS = (
    'lora_A',
    'lora_B',
    'lora_conv_weight',
    'lora_conv_bias',
    'lora_w_gate',
    'lora_w_noise',
)


def make(
    experts: int = 4, rank: int = 3, gate_weighting: bool = False, train: bool = False
) -> ConvLoRALinear:
    """A layer 16 -> 24 with every parameter at a random value and a gate that tells samples
    apart."""
    torch.manual_seed(0)
    layer = ConvLoRALinear(nn.Linear(16, 24), rank, 8.0, experts, gate_weighting)
    for name in PARAMETERS:
        getattr(layer, name).data.normal_(std=0.5)
    layer.lora_w_gate.data *= 20
    return layer.train(train)


def close(got: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest value."""
    torch.testing.assert_close(
        got.double(), expected.double(), rtol=1e-5, atol=1e-5 * expected.abs().max().item()
    )


def clear_caches() -> None:
    experts.tables.cache_clear()
    experts.tap_weights.cache_clear()


def gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def by_definition(layer: ConvLoRALinear, x: Tensor) -> tuple[Tensor, dict[str, Tensor], list[int]]:
    """The layer in evaluation from its formula: float64, sample by sample, torch's own bicubic
    resizing in two dimensions."""
    p = {name: value.detach().double().requires_grad_() for name, value in layer.named_parameters()}
    z, outputs, chosen = x.double() @ p['lora_A'].T, [], []
    for i, bottleneck in enumerate(z):
        bottleneck = bottleneck.permute(2, 0, 1)[None]  # (H, W, r) -> (1, r, H, W)
        H, W = bottleneck.shape[2:]
        probability = (bottleneck.mean((2, 3)) @ p['lora_w_gate']).softmax(-1)[0]
        e = probability.argmax().item()
        y = F.interpolate(
            bottleneck, size=((e + 1) * H, (e + 1) * W), mode='bicubic', align_corners=False
        )
        y = F.gelu(F.conv2d(y, p['lora_conv_weight'][e], p['lora_conv_bias'][e], padding=1))
        y = F.interpolate(y, size=(H, W), mode='bicubic', align_corners=False)
        y = (y * probability[e] if layer.gate_weighting else y)[0].permute(1, 2, 0)
        outputs.append(
            x[i].double() @ p['weight'].T + p['bias'] + layer.scale * (z[i] + y) @ p['lora_B'].T
        )
        chosen.append(e)
    return torch.stack(outputs), p, chosen


@pytest.mark.parametrize('gate_weighting', [False, True])
@pytest.mark.parametrize('shape', [(12, 4, 4, 16), (8, 5, 3, 16), (6, 1, 1, 16)])
def test_outputs_and_gradients_by_definition(shape, gate_weighting):
    layer = make(gate_weighting=gate_weighting)
    x = torch.randn(shape)
    y = layer(x)
    expected, p, chosen = by_definition(layer, x)
    assert len(set(chosen)) >= 3, 'the case should use several experts'
    close(y, expected)
    y.square().mean().backward()
    expected.square().mean().backward()
    for name in PARAMETERS[:-1]:
        close(gradient(getattr(layer, name)), gradient(p[name]))
    assert (p['lora_w_gate'].grad is not None) == gate_weighting
    if gate_weighting:
        assert layer.lora_w_gate.grad.abs().max() > 1e-4


def test_tokens_are_a_square_map():
    layer, x = make(), torch.randn(5, 4, 4, 16)
    assert layer(x.flatten(1, 2)).equal(layer(x).flatten(1, 2))


def test_tokens_that_are_no_square():
    with pytest.raises(ValueError, match='12 tokens are no square map'):
        make()(torch.randn(2, 12, 16))


def test_one_expert_has_nothing_to_choose():
    layer, x = make(experts=1, train=True), torch.randn(3, 4, 4, 16)
    y = layer(x)
    close(y, by_definition(layer, x)[0])
    assert layer.use is None
    y.sum().backward()
    assert layer.lora_w_gate.grad.abs().max() == layer.lora_w_noise.grad.abs().max() == 0


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(rank=0), 'rank=0: .* at least rank 1'),
        (dict(num_experts=0), 'num_experts=0: needs at least 1; .* LoRA'),
        (dict(targets=['kqv']), "target 'kqv' matches no linear layer"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMViT(ARCH, img_size=64, peft=dict(type='ConvLoRA', **settings))


def test_initial_values():
    torch.manual_seed(0)
    layer = ConvLoRALinear(nn.Linear(16, 24), 3, 32, 8, False)
    assert all(
        getattr(layer, name).abs().max() == 0
        for name in ('lora_B', 'lora_conv_bias', 'lora_w_gate', 'lora_w_noise')
    )
    bound = 1 / math.sqrt(3 * 9)  # torch's default of a convolution with 3 channels in
    assert 0.9 * bound < layer.lora_conv_weight.abs().max() <= bound


def test_balance_loss_by_definition():
    rng = np.random.default_rng(0)
    p, w_gate, w_noise, noise = map(rng.standard_normal, [(9, 3), (3, 5), (3, 5), (9, 5)])
    clean, std = p @ w_gate, np.log1p(np.exp(p @ w_noise)) + 0.01
    noisy = clean + std * noise
    importance, load = np.zeros(5), np.zeros(5)
    for i in range(9):
        *_, second, first = np.sort(noisy[i])
        importance[noisy[i].argmax()] += 1
        load += [
            norm.cdf((clean[i, j] - (second if noisy[i, j] == first else first)) / std[i, j])
            for j in range(5)
        ]
    expected = 0.01 * sum(values.var(ddof=1) / values.mean() ** 2 for values in (importance, load))
    expert, logits, use = top1_gate(*map(torch.from_numpy, (p, w_gate, w_noise, noise)))
    assert (expert.numpy() == noisy.argmax(1)).all()
    np.testing.assert_allclose(use, [importance, load])
    assert balance(use).item() == pytest.approx(expected, rel=1e-9)
    assert balance(torch.stack([use, use])).item() == pytest.approx(2 * expected, rel=1e-9)
    np.testing.assert_allclose(logits, clean)
    expert, logits, use = top1_gate(*map(torch.from_numpy, (p, w_gate, w_noise)), None)
    counts = np.bincount(clean.argmax(1), minlength=5)
    assert (expert.numpy() == clean.argmax(1)).all() and (use.numpy() == counts).all()
    assert balance(use).item() == pytest.approx(
        0.02 * counts.var(ddof=1) / counts.mean() ** 2, rel=1e-9
    )
    np.testing.assert_allclose(logits, clean)


def test_noise_only_in_training():
    layer, x = make(), torch.randn(4, 4, 4, 16)
    layer.lora_w_gate.data.zero_()
    state = torch.get_rng_state()
    evaluated = [layer.eval()(x) for _ in range(3)]
    assert torch.get_rng_state().equal(state) and layer.use is None
    trained = [layer.train()(x) for _ in range(3)]
    assert all(y.equal(evaluated[0]) for y in evaluated)
    assert not trained[0].equal(trained[1]) and not trained[1].equal(trained[2])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_large_expert_outputs_stay_finite(dtype):
    """The reference program combines experts through exp and log, and overflows above 88."""
    layer, x = make(), torch.randn(4, 4, 4, 16)
    layer.lora_conv_bias.data += 300
    expected, *_ = by_definition(layer, x)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        y = layer(x)
        y.float().mean().backward()
    assert (y - expected).norm() / expected.norm() < (1e-5 if dtype == torch.float32 else 0.02)
    assert all(
        p.grad.isfinite().all() for name, p in layer.named_parameters() if p.grad is not None
    )


def test_auxiliary_loss_is_the_weighted_sum_and_handed_out_once():
    model = SAMViT(ARCH, img_size=64, peft=dict(type='ConvLoRA', balance_weight=2.0)).train()
    model(torch.randn(1, 3, 64, 64))
    losses = [balance(block.attn.qkv.use) for block in model.blocks]
    assert all(loss > 0 for loss in losses)
    handed_out = model.peft.aux_losses(model)
    torch.testing.assert_close(handed_out, {'loss_balance': 2 * sum(losses)})
    assert handed_out['loss_balance'].requires_grad
    assert model.peft.aux_losses(model) == {}
    model.eval()(torch.randn(1, 3, 64, 64))
    assert model.peft.aux_losses(model) == {}


def test_only_the_linear_part_is_merged():
    layer, x = make(), torch.randn(6, 4, 4, 16)
    expected, weight = layer(x), layer.weight.detach().clone()
    layer.merge()
    close(
        layer.weight,
        weight.double() + layer.scale * (layer.lora_B.double() @ layer.lora_A.double()),
    )
    close(layer(x), expected)
    assert (F.linear(x, layer.weight, layer.bias) - expected).abs().max() > 0.1, (
        'the experts stay beside it'
    )


def test_no_host_synchronisation():
    """On fake tensors, which have no values to wait for, any look at a value raises."""
    clear_caches()
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer = make(train=True)
        y = layer(torch.randn(2, 4, 4, 16))
        (y.mean() + balance(layer.use)).backward()
        assert y.shape == (2, 4, 4, 24) and layer.lora_A.grad.shape == (3, 16)
    clear_caches()


@pytest.mark.parametrize('strict', [False, True])
def test_export(strict):
    layer, x = make(), torch.randn(3, 4, 6, 16)
    clear_caches()
    exported = torch.export.export(layer, (x,), strict=strict).module()
    close(exported(x), by_definition(layer, x)[0])
    close(layer(x), by_definition(layer, x)[0])


def test_training_after_inference_mode():
    layer, x = make(), torch.randn(3, 7, 5, 16)
    with torch.inference_mode():
        layer(x)
    layer.train()(x).mean().backward()
    assert layer.lora_conv_weight.grad.isfinite().all()


def test_gradient_checkpointing():
    gradients = []
    for run in (
        lambda layer, x: layer(x),
        lambda layer, x: checkpoint(layer, x, use_reentrant=False),
    ):
        layer = make(train=True)
        (run(layer, torch.randn(6, 4, 4, 16)).square().mean() + balance(layer.use)).backward()
        gradients.append([getattr(layer, name).grad for name in PARAMETERS])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain.abs().max() > 0 and checkpointed.equal(plain)
