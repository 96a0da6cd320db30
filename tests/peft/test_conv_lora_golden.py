"""Against the numbers of the public reference program (AutoGluon's Conv-LoRA linear, float32, CPU).

``conv_lora_CASE_MODE.safetensors``: ``state.*`` weights, ``x``, ``noise`` (the gate's normal draw
in training), ``y``, ``loss`` (balance loss), ``gx`` and ``grads.*``: gradients of mean(y^2) + loss.
Of the larger case, 25 windows of 14 x 14, y and gx are stored at every 16th channel
(``channel_step`` in the metadata), and x, noise and state once, in the file of the training mode.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsam_peft.peft.conv_lora import ConvLoRALinear, balance, top1_gate
from mmsam_peft.safe_load import load_safetensors

DATA = Path(__file__).parents[1] / 'data'


def load(case: str, mode: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    inputs, _ = load_safetensors(DATA / f'conv_lora_{case}_train.safetensors')
    results, sizes = load_safetensors(DATA / f'conv_lora_{case}_{mode}.safetensors')
    return {
        key: value
        for key, value in inputs.items()
        if key in ('x', 'noise') or key.startswith('state.')
    } | results, sizes


def build(state: dict[str, Tensor], sizes: dict[str, str]) -> ConvLoRALinear:
    out, width = state['state.weight'].shape
    layer = ConvLoRALinear(
        nn.Linear(width, out), int(sizes['r']), float(sizes['alpha']), int(sizes['experts']), False
    )
    experts = range(layer.num_experts)
    layer.load_state_dict(
        dict(
            weight=state['state.weight'],
            bias=state['state.bias'],
            lora_A=state['state.lora_A'],
            lora_B=state['state.lora_B'],
            lora_conv_weight=torch.stack(
                [state[f'state.lora_moe_experts.{e}.0.weight'] for e in experts]
            ),
            lora_conv_bias=torch.stack(
                [state[f'state.lora_moe_experts.{e}.0.bias'] for e in experts]
            ),
            lora_w_gate=state['state.lora_moe_gating.w_gate'],
            lora_w_noise=state['state.lora_moe_gating.w_noise'],
        )
    )
    return layer


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('case', ['four_experts_r4', 'window_b1'])
def test_reference_numbers(monkeypatch, case, mode):
    golden, sizes = load(case, mode)
    layer, step = build(golden, sizes).train(mode == 'train'), int(sizes.get('channel_step', 1))
    monkeypatch.setattr(torch, 'randn', lambda *shape, **like: golden['noise'])
    x = golden['x'].requires_grad_()
    y = layer(x)
    if mode == 'train':
        loss = balance(layer.use)
    else:  # the layer makes none in evaluation, the reference does
        loss = balance(
            top1_gate(
                F.linear(x, layer.lora_A).mean((1, 2)), layer.lora_w_gate, layer.lora_w_noise, None
            )[2]
        )
    close(loss, golden['loss'])
    close(y[..., ::step], golden['y'])

    (y.square().mean() + loss).backward()
    close(x.grad[..., ::step], golden['gx'])
    for name in ('lora_A', 'lora_B'):
        close(getattr(layer, name).grad, golden[f'grads.{name}'])
    for e in range(layer.num_experts):
        for kind in ('weight', 'bias'):
            got = getattr(layer, f'lora_conv_{kind}').grad[e]
            close(
                got, golden.get(f'grads.lora_moe_experts.{e}.0.{kind}', torch.zeros_like(got))
            )  # none where never chosen
    for name in ('w_gate', 'w_noise'):
        parameter = getattr(layer, f'lora_{name}')
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        close(got, golden.get(f'grads.lora_moe_gating.{name}', torch.zeros_like(parameter)))
