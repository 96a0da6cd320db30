import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import build_method, count_parameters

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
PARAMETERS = {'adapt_down.weight', 'adapt_down.bias', 'adapt_up.weight', 'adapt_up.bias'}


def encoder(**settings) -> SAMViT:
    torch.manual_seed(0)
    return SAMViT(ARCH, img_size=64, peft=dict(type='AdaptFormer', **settings))


def decoder(**settings) -> nn.Module:
    from segment_anything.modeling.transformer import (
        TwoWayTransformer,
    )  # importable once mmsam_peft is

    host = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
    build_method(dict(type='AdaptFormer', **settings)).inject(host)
    return host


@pytest.mark.parametrize('settings, scale', [({}, 0.1), (dict(scale=0.7), 0.7)])
def test_formula_of_a_block(settings, scale):
    block = encoder(width=4, **settings).double().blocks[1]
    mlp = block.mlp
    for parameter in (
        mlp.adapt_down.bias,
        mlp.adapt_up.weight,
        mlp.adapt_up.bias,
        block.norm2.weight,
        block.norm2.bias,
    ):
        parameter.data.normal_()
    x = torch.randn(2, 5, 4, 32, dtype=torch.float64)
    after_attention = x + block.attn(block.norm1(x))  # block 1 attends to the whole map
    normalised = F.layer_norm(after_attention, (32,), block.norm2.weight, block.norm2.bias, 1e-6)
    base = (
        F.gelu(normalised @ mlp.lin1.weight.T + mlp.lin1.bias) @ mlp.lin2.weight.T + mlp.lin2.bias
    )
    hidden = (normalised @ mlp.adapt_down.weight.T + mlp.adapt_down.bias).clamp_min(0)
    branch = hidden @ mlp.adapt_up.weight.T + mlp.adapt_up.bias
    torch.testing.assert_close(block(x), after_attention + base + scale * branch)


def test_initial_values():
    model = encoder(width=64)
    bound = 1 / 32**0.5  # Kaiming-uniform with a = sqrt 5
    for block in model.blocks:
        assert 0.99 * bound < block.mlp.adapt_down.weight.abs().max() <= bound
        for zero in (block.mlp.adapt_down.bias, block.mlp.adapt_up.weight, block.mlp.adapt_up.bias):
            assert zero.abs().max() == 0


@pytest.mark.parametrize('blocks, chosen', [('all', [0, 1, 2]), ('first:1', [0]), ([0, 2], [0, 2])])
def test_blocks(blocks, chosen):
    expected = {f'blocks.{i}.mlp.{name}' for i in chosen for name in PARAMETERS}
    assert {
        name for name, p in encoder(blocks=blocks).named_parameters() if p.requires_grad
    } == expected


def test_decoder_layers_without_the_final_attention():
    host = decoder(width=6)
    assert {name for name, _ in host.named_parameters() if 'adapt_' in name} == {
        f'layers.{i}.mlp.{name}' for i in (0, 1) for name in PARAMETERS
    }
    mlp = host.layers[1].mlp
    mlp.adapt_up.weight.data.normal_()
    x = torch.randn(2, 3, 32)
    base = torch.relu(x @ mlp.lin1.weight.T + mlp.lin1.bias) @ mlp.lin2.weight.T + mlp.lin2.bias
    torch.testing.assert_close(
        mlp(x), base + 0.1 * torch.relu(x @ mlp.adapt_down.weight.T) @ mlp.adapt_up.weight.T
    )


def test_final_attention_alone_is_an_error():
    with pytest.raises(ValueError, match=r'blocks=\[2\] .* no mlp to adapt'):
        decoder(blocks=[2])


def test_width_below_one():
    with pytest.raises(ValueError, match='width=0: .* at least width 1'):
        encoder(width=0)


def test_new_parameters_have_the_type_of_the_base():
    host = SAMViT(ARCH, img_size=64).to(torch.bfloat16)
    build_method(dict(type='AdaptFormer')).inject(host)
    assert {p.dtype for p in host.parameters()} == {torch.bfloat16}


def test_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='AdaptFormer'))
    assert count_parameters(model)[0] == 32 * (2 * 64 * 1280 + 64 + 1280) == 5_285_888
