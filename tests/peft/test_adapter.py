import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import build_method, count_parameters

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)


def encoder(**settings) -> SAMViT:
    torch.manual_seed(0)
    return SAMViT(ARCH, img_size=64, peft=dict(type='Adapter', **settings))


def decoder(**settings) -> nn.Module:
    from segment_anything.modeling.transformer import (
        TwoWayTransformer,
    )  # importable once mmsam_peft is

    host = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
    build_method(dict(type='Adapter', **settings)).inject(host)
    return host


def added(host: nn.Module) -> dict[str, tuple]:
    return {name: tuple(p.shape) for name, p in host.named_parameters() if 'adapter_' in name}


def test_formula_of_a_block():
    block = encoder(width=4).double().blocks[1]
    mlp = block.mlp
    mlp.adapter_up.weight.data.normal_()
    x = torch.randn(2, 5, 4, 32, dtype=torch.float64)
    after_attention = x + block.attn(block.norm1(x))  # block 1 attends to the whole map
    normalised = F.layer_norm(after_attention, (32,), block.norm2.weight, block.norm2.bias, 1e-6)
    y = F.gelu(normalised @ mlp.lin1.weight.T + mlp.lin1.bias) @ mlp.lin2.weight.T + mlp.lin2.bias
    hidden = y @ mlp.adapter_down.weight.T
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2  # GELU
    torch.testing.assert_close(block(x), after_attention + y + hidden @ mlp.adapter_up.weight.T)


def test_initial_values():
    model = encoder(width=64)
    down = torch.cat([block.mlp.adapter_down.weight.flatten() for block in model.blocks])
    assert 0.019 < down.abs().max() <= 0.02 and abs(down.mean()) < 1e-3
    assert down.std().item() == pytest.approx(
        0.0088, rel=0.03
    )  # of a normal cut at two of its 0.01
    assert all(block.mlp.adapter_up.weight.abs().max() == 0 for block in model.blocks)


@pytest.mark.parametrize('blocks, chosen', [('all', [0, 1, 2]), ('last:1', [2]), ([0, 2], [0, 2])])
def test_blocks(blocks, chosen):
    model = encoder(width=4, blocks=blocks)
    expected = {}
    for i in chosen:
        expected |= {
            f'blocks.{i}.mlp.adapter_down.weight': (4, 32),
            f'blocks.{i}.mlp.adapter_up.weight': (32, 4),
        }
    assert added(model) == expected
    assert {name for name, p in model.named_parameters() if p.requires_grad} == expected.keys()


@pytest.mark.parametrize('blocks, chosen', [('all', [0, 1]), ('last:2', [1])])
def test_decoder_layers_without_the_final_attention(blocks, chosen):
    expected = {}
    for i in chosen:
        expected |= {
            f'layers.{i}.mlp.adapter_down.weight': (5, 32),
            f'layers.{i}.mlp.adapter_up.weight': (32, 5),
        }
    assert added(decoder(blocks=blocks)) == expected


def test_final_attention_alone_is_an_error():
    with pytest.raises(
        ValueError, match="blocks='last:1' .* no mlp to adapt: use 'all' or of 0, 1"
    ):
        decoder(blocks='last:1')


@pytest.mark.parametrize('width', [0, -1])
def test_width_below_one(width):
    with pytest.raises(ValueError, match=f'width={width}: .* at least width 1'):
        encoder(width=width)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_new_parameters_have_the_type_of_the_base(dtype):
    host = SAMViT(ARCH, img_size=64).to(dtype)
    build_method(dict(type='Adapter')).inject(host)
    assert {p.dtype for p in host.parameters()} == {dtype}


def test_published_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='Adapter'))
    assert count_parameters(model)[0] == 32 * 2 * 5 * 1280 == 409_600
    assert round((409_600 + 3_505_536) / 1e6, 2) == 3.92
