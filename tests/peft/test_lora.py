import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters
from mmsam_peft.peft.dora import DoRALinear
from mmsam_peft.peft.lora import LoRALinear
from mmsam_peft.peft.qkv import QKVParts

from .conftest import HOSTS

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
WIDTH = {'attn.qkv': (32, 96), 'attn.proj': (32, 32), 'mlp.lin1': (32, 128), 'mlp.lin2': (128, 32)}


def trained(**settings) -> dict[str, torch.Size]:
    model = SAMViT(ARCH, img_size=64, peft=dict(type='LoRA', **settings))
    return {
        name: parameter.shape
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(6, 5), 2, 8)
    layer.lora_B.data.normal_()
    return layer


def test_formula(layer):
    x = torch.randn(3, 4, 6)
    weight, bias, A, B = (
        p.detach().double() for p in (layer.weight, layer.bias, layer.lora_A, layer.lora_B)
    )
    expected = x.double() @ weight.T + bias + 8 / 2 * (x.double() @ A.T) @ B.T
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)
    layer.merge()
    torch.testing.assert_close(layer.weight.double(), weight + 8 / 2 * B @ A, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        F.linear(x, layer.weight, layer.bias).double(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('parts', [(0,), (1, 2), (0, 2)])
def test_parts_of_a_fused_layer(parts):
    """The update of the chosen thirds is that of a whole layer whose other rows of B are zero."""
    torch.manual_seed(0)
    base = nn.Linear(6, 12)
    layer, whole = LoRALinear(base, 2, 8, QKVParts(parts)), LoRALinear(base, 2, 8)
    layer.lora_B.data.normal_()
    assert layer.lora_B.shape == (4 * len(parts), 2)
    rows = [row for part in parts for row in range(4 * part, 4 * part + 4)]
    whole.load_state_dict(
        {
            'lora_A': layer.lora_A,
            'weight': base.weight,
            'bias': base.bias,
            'lora_B': torch.zeros(12, 2).index_copy(0, torch.tensor(rows), layer.lora_B.detach()),
        }
    )
    x = torch.randn(3, 6)
    assert layer(x).equal(whole(x))
    others = [row for row in range(12) if row not in rows]
    assert layer(x)[:, others].equal(base(x)[:, others])
    layer(x).square().sum().backward()
    whole(x).square().sum().backward()
    torch.testing.assert_close(layer.lora_B.grad, whole.lora_B.grad[rows])
    expected = whole(x)
    layer.merge()
    torch.testing.assert_close(
        F.linear(x, layer.weight, layer.bias), expected, rtol=1e-5, atol=1e-5
    )


def test_initial_values():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 4), 50, 1)
    bound = 1 / 400**0.5  # Kaiming-uniform with a = sqrt 5
    assert layer.lora_B.abs().max() == 0
    assert 0.99 * bound < layer.lora_A.abs().max() <= bound


def test_layer_keeps_the_base_parameters_and_their_type():
    base = nn.Linear(6, 5, bias=False, dtype=torch.bfloat16)
    layer = LoRALinear(base, 2, 8)
    assert layer.weight is base.weight and layer.bias is None
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    'targets, layers',
    [
        (['qkv'], ['attn.qkv']),
        ('proj', ['attn.proj']),
        (['proj', 'mlp'], ['attn.proj', 'mlp.lin1', 'mlp.lin2']),
    ],
)
def test_targets(targets, layers):
    expected = {}
    for block in range(2):
        for layer in layers:
            source, out = WIDTH[layer]
            expected |= {
                f'blocks.{block}.{layer}.lora_A': (4, source),
                f'blocks.{block}.{layer}.lora_B': (out, 4),
            }
    assert trained(rank=4, targets=targets) == expected


def test_target_that_matches_nothing_lists_the_linears():
    with pytest.raises(
        ValueError,
        match="target 'kqv' matches no linear layer: choose from qkv, q, k, v, proj, mlp, lin1, "
        'lin2',
    ):
        trained(targets=['qkv', 'kqv'])


@pytest.mark.parametrize('rank', [0, -1])
def test_rank_below_one(rank):
    with pytest.raises(ValueError, match=f'rank={rank}: .* at least rank 1'):
        trained(rank=rank)


def test_no_graph_before_the_first_adapted_layer():
    model = SAMViT(ARCH, img_size=64, peft=dict(type='LoRA')).train()
    seen = []
    model.blocks[0].attn.qkv.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].requires_grad)
    )
    assert model(torch.randn(1, 3, 64, 64))[0].requires_grad
    assert seen == [False]


@pytest.mark.parametrize('kind', ['LoRA', 'DoRA', 'FacT'])
def test_q_and_v_of_heads_side_by_side(kind):
    """Rows of k, of each head, stay as they were; what the layer computes is what its merged weight
    does."""
    host = HOSTS['stages'].build(dict(type=kind, targets=['q', 'v']))
    layer = host.stages[0][0].attn.qkv
    for name, parameter in host.named_parameters():
        if name in host.peft.added:
            parameter.data += torch.randn_like(parameter) * 0.1
    x, before = torch.randn(2, 3, 3, 16), layer.weight.detach().clone()
    expected = layer(x)
    layer.merge()
    torch.testing.assert_close(
        F.linear(x, layer.weight, layer.bias), expected, rtol=1e-5, atol=1e-5
    )
    moved = (layer.weight - before).abs().amax(1).view(2, 3, -1) > 0  # (heads, 3, rows)
    assert moved[:, [0, 2]].all() and not moved[:, 1].any()


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('kind', [LoRALinear, DoRALinear])
@pytest.mark.parametrize('chosen', [(0, 1, 2), (0, 2)])
def test_split_parts_are_layers_of_their_own(kind, groups, chosen):
    """Of a fused qkv with ``split`` each part is what a separate layer with its A and its rows of B
    computes."""
    torch.manual_seed(0)
    base = nn.Linear(6, 24)
    fused = kind(base, 2, 8, QKVParts(chosen, groups), split=True)
    fused.lora_B.data.normal_()
    x = torch.randn(5, 6)
    rows = torch.arange(24).view(groups, 3, -1)
    expected = F.linear(x, base.weight, base.bias)
    for i, part in enumerate(chosen):
        own = nn.Linear(6, 8)
        own.weight.data, own.bias.data = (
            base.weight[rows[:, part].flatten()],
            base.bias[rows[:, part].flatten()],
        )
        apart = kind(own, 2, 8)
        apart.lora_A.data = fused.lora_A[2 * i : 2 * i + 2]
        apart.lora_B.data = fused.lora_B.view(groups, len(chosen), -1, 2)[:, i].flatten(0, 1)
        if kind is DoRALinear:
            apart.lora_magnitude.data = fused.lora_magnitude.view(groups, len(chosen), -1)[
                :, i
            ].flatten()
        expected[:, rows[:, part].flatten()] = apart(x)
    torch.testing.assert_close(fused(x), expected)
    fused.merge()
    torch.testing.assert_close(fused(x), expected)


def test_the_same_update_and_size_with_fused_and_separate_qkv():
    """One A for the fused qkv of SAM, as in the paper; three with ``split_qkv``, as where q, k and
    v are apart."""

    def trained(host: str, **settings) -> int:
        return count_parameters(HOSTS[host].build(dict(type='LoRA', rank=3, **settings)))[0]

    assert trained('encoder') == 2 * 3 * (32 + 96)
    assert (
        trained('tokens')
        == trained('tokens', split_qkv=True)
        == trained('encoder', split_qkv=True)
        == 2 * 3 * 3 * (32 + 32)
    )
    assert trained('encoder', split_qkv=True, targets=['proj']) == trained(
        'encoder', targets=['proj']
    )
