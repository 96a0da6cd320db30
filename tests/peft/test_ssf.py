import copy

import pytest
import torch
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method, count_parameters, specialise_in_place
from mmsam_peft.peft.ssf import ScaledShifted, ScaledShiftedMap

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
LAYERS = ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.lin1', 'mlp.lin2')
ATTENTIONS = ('self_attn', 'cross_attn_token_to_image', 'cross_attn_image_to_token')
HEAD = 3_505_536


def randomise(host: nn.Module) -> nn.Module:
    """As after some training."""
    torch.manual_seed(1)
    for name, parameter in host.named_parameters():
        if 'ssf_' in name:
            parameter.data.add_(torch.randn(parameter.shape), alpha=0.2)
    return host


def adapted_layers(host: nn.Module) -> set[str]:
    """Layers with both new parameters, which must be all that is trained."""
    names = {name for name, parameter in host.named_parameters() if parameter.requires_grad}
    layers = {name.rpartition('.')[0] for name in names}
    assert names == {f'{layer}.{name}' for layer in layers for name in ('ssf_gamma', 'ssf_beta')}
    return layers


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a plain host that computes the same, row by row."""
    plain = {name: value.double() for name, value in state.items() if 'ssf_' not in name}
    for name in state:
        if name.endswith('ssf_gamma'):
            layer = name.removesuffix('.ssf_gamma')
            for c, (gamma, beta) in enumerate(
                zip(state[name].double(), state[f'{layer}.ssf_beta'].double(), strict=True)
            ):
                plain[f'{layer}.weight'][c] *= gamma
                plain[f'{layer}.bias'][c] = plain[f'{layer}.bias'][c] * gamma + beta
    return plain


def decoder() -> TwoWayTransformer:
    torch.manual_seed(0)
    return TwoWayTransformer(depth=2, embedding_dim=16, num_heads=2, mlp_dim=8)


def encoder(peft: dict | None = None) -> SAMViT:
    torch.manual_seed(0)
    return SAMViT(ARCH, img_size=64, peft=peft)


def run(host: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    """On a map of 4 x 5 cells, cut from an image that no patch divides."""
    noise = torch.Generator().manual_seed(2)
    image, cells, tokens = (
        torch.randn(2, *s, generator=noise).to(dtype) for s in ((3, 50, 70), (16, 4, 5), (3, 16))
    )
    with torch.no_grad():
        if isinstance(host, SAMViT):
            return host(image)[0]
        return torch.cat([output.flatten() for output in host(cells, cells.flip(1), tokens)])


@pytest.mark.parametrize(
    'base, kind, shape',
    [
        (nn.Linear(6, 5), ScaledShifted, (2, 3, 6)),
        (nn.LayerNorm(5, eps=1e-6), ScaledShifted, (2, 3, 5)),
        (nn.Conv2d(3, 5, 2, stride=2), ScaledShiftedMap, (2, 3, 6, 4)),
    ],
)
def test_formula(base, kind, shape):
    torch.manual_seed(0)
    for parameter in base.parameters():
        parameter.data.normal_()
    x = torch.randn(shape)
    with torch.no_grad():
        y = base(x)
        layer = specialise_in_place(copy.deepcopy(base), kind)
        layer.add_parameters()
        assert torch.equal(layer(x), y)
        randomise(layer)
        expected, axis = torch.empty_like(y), 1 if kind is ScaledShiftedMap else -1
        for c in range(5):
            expected.select(axis, c).copy_(
                layer.ssf_gamma[c] * y.select(axis, c) + layer.ssf_beta[c]
            )
        torch.testing.assert_close(layer(x), expected)
        layer.merge()
        torch.testing.assert_close(layer(x), expected)


def test_starts_at_one_and_zero_in_the_type_of_the_base():
    layer = specialise_in_place(nn.Linear(4, 3, dtype=torch.bfloat16), ScaledShifted)
    layer.add_parameters()
    assert torch.equal(layer.ssf_gamma, torch.ones(3, dtype=torch.bfloat16))
    assert torch.equal(layer.ssf_beta, torch.zeros(3, dtype=torch.bfloat16))


@pytest.mark.parametrize('make', [encoder, decoder])
def test_host_starts_unchanged_and_merges_into_scaled_rows(make):
    host, plain = (
        make(),
        make().requires_grad_(False),
    )  # torch multiplies by frozen weights in another order
    method = build_method(dict(type='SSF'))
    apply_peft(host, method)
    assert torch.equal(run(host), run(plain))
    state = {name: value.clone() for name, value in randomise(host).state_dict().items()}
    plain.double().load_state_dict(folded(state))
    expected = run(plain, torch.float64).float()
    torch.testing.assert_close(run(host), expected, rtol=1e-4, atol=1e-5)
    method.merge(host)
    merged = host.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(merged[name], value.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(host), expected, rtol=1e-4, atol=1e-5)
    method.unmerge(host)
    assert all(torch.equal(value, state[name]) for name, value in host.state_dict().items())


@pytest.mark.parametrize(
    'blocks, numbers', [('all', {0, 1, 2}), ('last:1', {2}), ('first:2', {0, 1}), ([1], {1})]
)
def test_layers_of_the_chosen_blocks(blocks, numbers):
    expected = {f'blocks.{i}.{layer}' for i in numbers for layer in LAYERS} | (
        {'patch_embed.proj'} if 0 in numbers else set()
    )
    assert adapted_layers(encoder(dict(type='SSF', blocks=blocks))) == expected


@pytest.mark.parametrize('blocks, numbers', [('all', {0, 1, 2}), ([0], {0}), ('last:1', {2})])
def test_layers_of_the_decoder(blocks, numbers):
    host = decoder()
    apply_peft(host, build_method(dict(type='SSF', blocks=blocks)))
    attentions = {f'layers.{i}.{attention}' for i in numbers - {2} for attention in ATTENTIONS}
    attentions |= {'final_attn_token_to_image'} if 2 in numbers else set()
    expected = {
        f'{attention}.{part}_proj' for attention in attentions for part in ('q', 'k', 'v', 'out')
    }
    others = ('norm1', 'norm2', 'norm3', 'norm4', 'mlp.lin1', 'mlp.lin2')
    assert adapted_layers(host) == expected | {
        f'layers.{i}.{layer}' for i in numbers - {2} for layer in others
    }


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_type_of_every_layer(dtype):
    def types(model: SAMViT) -> list[torch.dtype]:
        seen = []
        for module in model.modules():
            if module is not model:  # which returns a tuple
                module.register_forward_hook(
                    lambda module, inputs, output: seen.append(output.dtype)
                )
        with torch.autocast('cpu', dtype):
            run(model)
        return seen

    plain = types(encoder())
    assert dtype in plain and types(encoder(dict(type='SSF'))) == plain


def test_small_scales_survive_bfloat16():
    """Rounded to bfloat16, 1.003 is 1: then nothing would happen."""
    torch.manual_seed(0)
    layer, x = specialise_in_place(nn.Linear(64, 8), ScaledShifted), torch.randn(4096, 64)
    layer.add_parameters()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        y = layer(x).double()
        layer.ssf_gamma.fill_(1.003)
        scale = (layer(x).double() * y).sum() / (y * y).sum()
    assert abs(scale - 1.003) < 3e-4


def test_published_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='SSF'))
    assert count_parameters(model)[0] == 903_680
    assert abs(count_parameters(model)[0] + HEAD - 4.42e6) < 0.02e6


def test_no_such_block():
    with pytest.raises(ValueError, match="blocks='some': .* there are 3 blocks, 0 to 2"):
        encoder(dict(type='SSF', blocks='some'))
