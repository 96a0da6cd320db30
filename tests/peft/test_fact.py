import copy
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method, count_parameters
from mmsam_peft.peft.fact import FacTLinear

from .conftest import HOSTS

HEAD = 3_505_536
LAYERS = ('attn.qkv', 'attn.proj', 'mlp.lin1', 'mlp.lin2')


def build(host: str = 'encoder', **settings) -> nn.Module:
    """With factors that are nowhere at their initial values."""
    model = HOSTS[host].build(dict(type='FacT', rank=3, **settings))
    torch.manual_seed(1)
    for parameter in model.fact.parameters():
        parameter.data.normal_(std=0.5)
    return model


def run(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return HOSTS['encoder'].run(model.eval(), HOSTS['encoder'].inputs())


def core(model: nn.Module, piece: int) -> Tensor:
    fact = {name: value.detach().double() for name, value in model.fact.named_parameters()}
    if 'Sigma' in fact:
        return fact['Sigma'][piece]
    return sum(fact['P'][piece, k] * fact['G'][k] for k in range(len(fact['G'])))


def dense_updates(model: nn.Module, scale: float) -> dict[str, Tensor]:
    """Of every layer, piece by piece: three row pieces of qkv, four of lin1, four column pieces of
    lin2."""
    U, V = model.fact.U.detach().double(), model.fact.V.detach().double()
    updates, piece = {}, 0
    for block in range(2):
        for name, axis, count in zip(LAYERS, (0, 0, 0, 1), (3, 1, 4, 4), strict=True):
            pieces = [scale * V @ core(model, piece + i) @ U.T for i in range(count)]
            updates[f'blocks.{block}.{name}'] = torch.cat(pieces, axis)
            piece += count
    return updates


@pytest.mark.parametrize('form', ['tt', 'tk'])
def test_formula(form):
    model = build(form=form, scale=0.7)
    for name, update in dense_updates(model, 0.7).items():
        layer = model.get_submodule(name)
        x = torch.randn(2, 5, layer.in_features)
        expected = x.double() @ (layer.weight.double() + update).T + layer.bias.double()
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-4, atol=1e-4)
        before = layer.weight.detach().double()
        layer.merge()
        torch.testing.assert_close(layer.weight.double(), before + update, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('form', ['tt', 'tk'])
@pytest.mark.parametrize(
    'targets, parts', [(('q', 'v'), (0, 2)), ('k', (1,)), (('v', 'k', 'q'), (0, 1, 2))]
)
def test_parts_of_a_fused_qkv(targets, parts, form):
    model = build(targets=targets, form=form, blocks=[1])
    assert list(dict(model.fact.named_parameters()).values())[-1].shape[0] == len(
        parts
    )  # Sigma's or P's pieces
    layer, x = model.blocks[1].attn.qkv, torch.randn(4, 32)
    expected = nn.functional.linear(x, layer.weight, layer.bias).unflatten(1, (3, 32)).clone()
    for i, part in enumerate(parts):
        U, V = model.fact.U.double(), model.fact.V.double()
        expected[:, part] += (x.double() @ U @ core(model, i).T @ V.T).float()
    torch.testing.assert_close(layer(x), expected.flatten(1), rtol=1e-4, atol=1e-4)
    untouched = [part for part in range(3) if part not in parts]
    weight = layer.weight.detach().clone().unflatten(0, (3, 32))
    layer.merge()
    assert layer.weight.unflatten(0, (3, 32))[untouched].equal(weight[untouched])


@pytest.mark.parametrize(
    'form, bounds',
    [
        ('tt', dict(U=1 / 32**0.5, V=0, Sigma=1 / 16**0.5)),
        ('tk', dict(U=1 / 32**0.5, V=0, G=(6 / 512) ** 0.5, P=(6 / 40) ** 0.5)),
    ],
)
def test_initial_values(form, bounds):
    model = HOSTS['encoder'].build(dict(type='FacT', form=form))
    largest = {
        name: value.detach().abs().max().item() for name, value in model.fact.named_parameters()
    }
    assert largest == pytest.approx(bounds, rel=0.02) and all(
        largest[name] <= bound for name, bound in bounds.items()
    )
    assert all(
        abs(value.mean()) < bounds[name] / 8
        for name, value in model.fact.named_parameters()
        if bounds[name]
    )


@pytest.mark.parametrize(
    'form, added', [('tt', 2 * 1280 * 16 + 384 * 256), ('tk', 2 * 1280 * 16 + 16**3 + 384 * 16)]
)
def test_size_at_vit_h(form, added):
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='FacT', form=form))
    assert count_parameters(model)[0] == added
    assert round((added + HEAD) / 1e6, 2) == dict(tt=3.64, tk=3.56)[form]


def test_pieces_are_those_of_the_chosen_layers():
    model = build(targets=('proj', 'mlp'), blocks='last:1')
    assert {name for name, layer in model.named_modules() if isinstance(layer, FacTLinear)} == {
        f'blocks.1.{name}' for name in LAYERS[1:]
    }
    assert model.fact.Sigma.shape == (9, 3, 3)
    assert [model.get_submodule(f'blocks.1.{name}').pieces for name in LAYERS[1:]] == [
        slice(0, 1),
        slice(1, 5),
        slice(5, 9),
    ]


def test_decoder_has_pieces_of_half_its_width():
    model = build('decoder', targets=('qkv', 'proj', 'mlp'))
    assert model.fact.U.shape == (16, 3)
    layers = [layer for layer in model.modules() if isinstance(layer, FacTLinear)]
    assert (
        model.fact.Sigma.shape[0]
        == sum(layer.out_features * layer.in_features for layer in layers) / 16**2
    )
    lin1, first = model.layers[1].mlp.lin1, model.layers[1].mlp.lin1.pieces.start
    x, weight = torch.randn(5, 32), torch.zeros(64, 32, dtype=torch.float64)
    for a in range(4):
        for b in range(2):
            update = (
                model.fact.V.double() @ core(model, first + 2 * a + b) @ model.fact.U.double().T
            )
            weight[16 * a : 16 * a + 16, 16 * b : 16 * b + 16] = update.detach()
    expected = x.double() @ (lin1.weight.double() + weight).T + lin1.bias.double()
    torch.testing.assert_close(lin1(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_no_dense_update_in_training():
    """Nothing of C x C or more is computed from the factors on the way forward."""
    layer = build().blocks[0].mlp.lin2
    weights = {tuple(layer.weight.shape), tuple(layer.weight.T.shape)}
    seen = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, kind, types, args=(), kwargs=None):
            out = kind(*args, **(kwargs or {}))
            seen.extend(
                [tuple(out.shape)] if isinstance(out, Tensor) and 'aten.t.' not in str(kind) else []
            )
            return out

    with Record():
        layer(torch.randn(7, 128))
    assert (
        seen
        and not weights & set(seen)
        and max(torch.Size(shape).numel() for shape in seen) <= 7 * 128
    )


@pytest.mark.parametrize(
    'clone',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['deepcopy', 'pickle'],
)
@pytest.mark.parametrize('form', ['tt', 'tk'])
def test_copies_share_among_themselves(form, clone):
    model = build(form=form)
    expected, twin = run(model), clone(model)
    layers = [layer for layer in twin.modules() if isinstance(layer, FacTLinear)]
    assert len(layers) == 8
    assert all(layer.shared[0] is twin.fact for layer in layers) and twin.fact is not model.fact
    twin.fact.V.data.zero_()
    assert run(model).equal(expected) and not run(twin).equal(expected)


@pytest.mark.parametrize('form', ['tt', 'tk'])
def test_state_dict_shares_nothing(form):
    model = build(form=form)
    state = load(save(model.state_dict()))  # refuses tensors that share memory
    assert {name for name in state if 'fact' in name} == {
        f'fact.{name}' for name, _ in model.fact.named_parameters()
    }
    other = HOSTS['encoder'].build(dict(type='FacT', rank=3, form=form), seed=5)
    other.load_state_dict(state)
    assert run(other).equal(run(model))


def test_factors_have_the_base_type():
    host = HOSTS['encoder'].build(None).to(torch.bfloat16)
    apply_peft(host, build_method(dict(type='FacT')))
    assert {parameter.dtype for parameter in host.fact.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(rank=0), 'rank=0: the factors need at least rank 1'),
        (dict(form='cp'), r"form='cp': use 'tt' .* or 'tk'"),
        (dict(targets=('kqv',)), "target 'kqv' matches no linear layer"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        HOSTS['encoder'].build(dict(type='FacT', **settings))
