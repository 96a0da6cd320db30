import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters
from mmsam_peft.peft.lora import LoRALinear
from mmsam_peft.peft.per_task import per_task_layers
from mmsam_peft.peft.qkv import QKVParts
from mmsam_peft.peft.ta_lora import TALoRA, TALoRALinear, departure
from mmsam_peft.peft.task_lora import TaskLoRALinear
from mmsam_peft.safe_load import load_safetensors

from .conftest import ARCH

DATA = Path(__file__).parents[1] / 'data'
FACTORS = ('G', 'U1', 'U2', 'U3')


def fill(layer: TALoRALinear, std: float = 0.5) -> TALoRALinear:
    torch.manual_seed(1)
    for factor in FACTORS:
        layer.get_parameter(f'lora_{factor}').data.normal_(std=std)
    return layer


def outputs(layer: TALoRALinear, x: Tensor, branches: bool) -> Tensor:
    """(T, B, ...) of x (B, ...)."""
    layer.branches, T = branches, len(layer.tasks)
    return layer(x if branches else x.repeat(T, *[1] * (x.dim() - 1))).unflatten(0, (T, -1))


@pytest.mark.parametrize('branches', [True, False])
@pytest.mark.parametrize('case', ['qkv', 'qv_only'])
def test_reference_numbers(case, branches):
    """Of the public reference program (MTSAM's Tucker linear, float32, CPU, no dropout)."""
    golden, sizes = load_safetensors(DATA / f'ta_lora_{case}.safetensors')
    parts = tuple(i for i, enabled in enumerate(json.loads(sizes['enable_qkv'].lower())) if enabled)
    layer = TALoRALinear(
        nn.Linear(24, 72),
        int(sizes['tasks']),
        [int(sizes[rank]) for rank in 'pqv'],
        float(sizes['scaling']),
        0.0,
        QKVParts(parts),
    )
    own = {f'lora_{name}': f'td_{name}' for name in FACTORS} | dict(bias='bias')
    layer.load_state_dict(
        {name: golden[f'state.{key}'] for name, key in own.items()}
        | dict(weight=golden['state.weight'])
    )
    x = golden['io.x'].requires_grad_()
    y = outputs(layer, x, branches)
    y.square().mean().backward()
    pairs = [(y, golden['io.y']), (x.grad, golden['io.grad_x'])]
    for got, expected in pairs + [
        (layer.get_parameter(name).grad, golden[f'grad.{key}']) for name, key in own.items()
    ]:
        torch.testing.assert_close(
            got, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
        )


@pytest.mark.parametrize('parts', [None, (0,), (0, 2), (1, 2)])
def test_formula(parts):
    torch.manual_seed(0)
    layer = fill(
        TALoRALinear(nn.Linear(6, 12), 3, (2, 3, 4), 0.7, 0.1, parts and QKVParts(parts)).double()
    ).eval()
    weight, bias, G, U1, U2, U3 = (
        layer.get_parameter(name).detach().clone()
        for name in ('weight', 'bias', *(f'lora_{factor}' for factor in FACTORS))
    )
    rows = [row for row in range(12) if parts is None or row // 4 in parts]
    assert U2.shape == (len(rows), 3)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    for task, y in enumerate(outputs(layer, x, True)):
        update = torch.zeros(12, 6, dtype=torch.float64)
        for i, row in enumerate(rows):
            for column in range(6):
                update[row, column] = 0.7 * sum(
                    G[a, b, c] * U1[column, a] * U2[i, b] * U3[task, c]
                    for a in range(2)
                    for b in range(3)
                    for c in range(4)
                )
        torch.testing.assert_close(y, x @ (weight + update).T + bias, rtol=1e-10, atol=1e-12)
        layer.train().merge(task)
        torch.testing.assert_close(layer.weight, weight + update, rtol=1e-10, atol=1e-12)
        layer.eval().unmerge()


def test_initial_values():
    torch.manual_seed(0)
    layer = TALoRALinear(nn.Linear(400, 600), 50, (30, 20, 40), 1.0, 0.0)
    assert layer.lora_G.abs().max() == 0
    for factor in FACTORS[1:]:
        values = layer.get_parameter(f'lora_{factor}').detach()
        assert (
            values.mean().abs() < 0.1
            and abs(values.std() - 1) < 0.05
            and abs(values.pow(4).mean() - 3) < 0.5
        )
    layer(torch.randn(50, 400)).square().sum().backward()
    grown = {
        factor for factor in FACTORS if layer.get_parameter(f'lora_{factor}').grad.abs().max() > 0
    }
    assert grown == {'G'}


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_orthonormal_beginning(dtype):
    method, base = (
        TALoRA(num_tasks=2, ranks=(6, 5, 3), orthonormal=True),
        nn.Linear(8, 24, dtype=dtype),
    )
    layer, other = method.make(base, QKVParts((0, 2))), method.make(base, QKVParts((0, 2)))
    unit = torch.tensor([0, 0, *[5**0.5] * 3])  # of G, zero, each slice departs by |I|
    assert layer.lora_U2.shape == (16, 5) and layer.lora_G.abs().max() == 0
    torch.testing.assert_close(
        layer.departures().detach(), unit, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02
    )
    assert not layer.lora_U1.equal(other.lora_U1)
    assert layer.lora_U1.dtype == dtype and layer.lora_U1.requires_grad


def test_base_parameters_and_their_type():
    base = nn.Linear(6, 5, bias=False, dtype=torch.bfloat16)
    layer = TALoRALinear(base, 2, (2, 2, 2), 1.0, 0.0)
    assert layer.weight is base.weight and layer.bias is None
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    'arch, factors, further, norms',
    [
        ('base', 1_228_944, 48, 36_864),
        ('large', 3_244_320, 96, 98_304),
        ('huge', 5_374_336, 128, 163_840),
    ],
)
def test_size(arch, factors, further, norms):
    def count(**settings) -> int:
        with torch.device('meta'):
            return count_parameters(SAMViT(arch, peft=dict(type='TALoRA', **settings)))[0]

    assert count(num_tasks=3) == factors + norms
    assert count(num_tasks=3, train_norms=False) == factors
    assert count(num_tasks=4, train_norms=False) == factors + further


@pytest.mark.parametrize('train_norms', [True, False])
def test_norms_of_the_chosen_blocks(train_norms):
    arch = dict(ARCH, depth=11)  # block 1 is not block 10
    model = SAMViT(
        arch, img_size=64, peft=dict(type='TALoRA', train_norms=train_norms, blocks=[1, 3])
    )
    trained = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and '.attn.' not in name
    }
    assert trained == {
        f'blocks.{block}.norm{i}.{kind}'
        for block in (1, 3)
        for i in (1, 2)
        for kind in ('weight', 'bias')
        if train_norms
    }


def encoder(**settings) -> SAMViT:
    torch.manual_seed(0)
    model = SAMViT(
        ARCH, img_size=64, peft=dict(type='TALoRA', num_tasks=3, ranks=(4, 5, 2), **settings)
    )
    for layer in per_task_layers(model):
        fill(layer)
    return model


@pytest.mark.parametrize('weight', [1.0, 0.3])
def test_regulariser(weight):
    model, terms = encoder(ortho_weight=weight), []
    for layer in per_task_layers(model):
        G, U1, U2 = (layer.get_parameter(f'lora_{name}').detach().double() for name in FACTORS[:3])
        for U in (U1, U2, G[:, :, 0], G[:, :, 1]):
            n = U.shape[1]
            terms.append(
                sum((U[:, i] @ U[:, j] - float(i == j)) ** 2 for i in range(n) for j in range(n))
                ** 0.5
            )
    assert len(terms) == 8
    for _ in range(2):  # there for every asking, with or without a forward pass
        losses = model.peft.aux_losses(model)
        assert losses.keys() == {'loss_ortho'}
        torch.testing.assert_close(losses['loss_ortho'].double(), weight * sum(terms) / 8)


def test_regulariser_of_weight_zero():
    assert encoder(ortho_weight=0).peft.aux_losses(encoder()) == {}


def test_regulariser_leaves_the_tasks_rows_alone():
    model = encoder()
    model.peft.aux_losses(model)['loss_ortho'].backward()
    grown = {
        name.split('_')[-1]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert grown == {'G', 'U1', 'U2'}


def test_regulariser_at_its_minimum_has_a_gradient():
    U = torch.eye(5, 3)[None].requires_grad_()
    departure(U).sum().backward()
    assert departure(U).item() == 0 and U.grad.abs().max() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_regulariser_in_low_precision(dtype):
    """Squares of thousands, which float16 does not hold."""
    U = 10 * torch.randn(1, 1280, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = departure(U.double())
    with torch.autocast('cpu', dtype):
        for values in (U, U.float()):
            torch.testing.assert_close(departure(values).double(), expected, rtol=1e-5, atol=0)


def test_one_task_is_lora():
    torch.manual_seed(0)
    base, r = nn.Linear(6, 12), 3
    lora, layer = (
        LoRALinear(base, r, 0.7 * r, QKVParts((0, 2))),
        TALoRALinear(base, 1, (r, r, 1), 0.7, 0.0, QKVParts((0, 2))),
    )
    nn.init.normal_(lora.lora_B)
    layer.load_state_dict(
        dict(
            layer.state_dict(),
            lora_G=torch.eye(r)[..., None],
            lora_U1=lora.lora_A.T,
            lora_U2=lora.lora_B,
            lora_U3=torch.ones(1, 1),
        )
    )
    x = torch.randn(4, 6)
    torch.testing.assert_close(layer(x), lora(x))
    for one in (layer, lora):
        one(x).pow(3).sum().backward()
    torch.testing.assert_close(layer.lora_U1.grad.T, lora.lora_A.grad)
    torch.testing.assert_close(layer.lora_U2.grad, lora.lora_B.grad)


def test_a_lora_per_task_is_representable():
    """p = q = T r, v = T: slice t of G selects the r columns of task t, and U3 = I the slice."""
    torch.manual_seed(0)
    base, r, T = nn.Linear(6, 12), 2, 3
    loras = TaskLoRALinear(base, T, r, 0.7 * r, 0)
    nn.init.normal_(loras.lora_B)
    layer = TALoRALinear(base, T, (T * r, T * r, T), 0.7, 0.0)
    G = torch.zeros(T * r, T * r, T)
    for t in range(T):
        for i in range(t * r, (t + 1) * r):
            G[i, i, t] = 1
    layer.load_state_dict(
        dict(
            layer.state_dict(),
            lora_G=G,
            lora_U1=loras.lora_A.flatten(0, 1).T,
            lora_U2=torch.cat(list(loras.lora_B), 1),
            lora_U3=torch.eye(T),
        )
    )
    x = torch.randn(T * 2, 5, 6)
    torch.testing.assert_close(layer(x), loras(x))


def test_dropout():
    """In training alone, on what the update sees alone, right in the mean; what the tasks have in
    common drops out alike."""
    torch.manual_seed(0)
    layer = fill(TALoRALinear(nn.Linear(6, 4), 2, (2, 3, 2), 0.5, 0.25).double())
    x = torch.randn(1, 6, dtype=torch.float64).expand(40_000, 6)
    expected = outputs(layer.eval(), x[:1], True)
    dropped = outputs(layer.train(), x, True)
    for outcomes in (dropped[0], torch.cat(list(dropped), -1)):
        assert len(outcomes.detach().round(decimals=9).unique(dim=0)) == 2**6
    torch.testing.assert_close(dropped.mean(1), expected[:, 0], rtol=0, atol=0.03)
    nn.init.zeros_(layer.lora_G)
    torch.testing.assert_close(
        outputs(layer, x[:1], True)[0], nn.functional.linear(x[:1], layer.weight, layer.bias)
    )
    layer.dropout = 0.0
    assert outputs(layer, x[:1], True).equal(outputs(layer.eval(), x[:1], True))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(ranks=(32, 32)), r'ranks=\(32, 32\): use three'),
        (dict(ranks=(4, 0, 2)), r'ranks=\(4, 0, 2\): .* at least 1'),
        (dict(dropout=1.0), 'dropout=1.0: use a probability'),
        (dict(dropout=-0.1), 'dropout=-0.1: use a probability'),
        (dict(num_tasks=0), 'num_tasks=0: at least 1'),
        (dict(targets='kqv'), "target 'kqv' matches no linear layer"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMViT(ARCH, img_size=64, peft=dict(type='TALoRA', **settings))
