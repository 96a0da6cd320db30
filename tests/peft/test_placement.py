import pytest
import torch
from torch import nn

from mmsam_peft.peft import blocks_of, chosen_blocks, extend, place_rows, reached_parameters, target_linears

from .conftest import HOSTS

ATTENTION = ('q_proj', 'k_proj', 'v_proj', 'out_proj')


def names(host: nn.Module, targets, blocks='all') -> list[tuple[str, tuple[int, ...] | None]]:
    """The targets by their names in the host."""
    paths = {id(module): path for path, module in host.named_modules()}
    return [(f'{paths[id(target.parent)]}.{target.attribute}'.lstrip('.'), target.parts)
            for target in target_linears(host, targets, blocks)]


@pytest.mark.parametrize('targets, expected', [
    ('qkv', [('attn.qkv', None)]),
    (['q', 'k', 'v'], [('attn.qkv', None)]),
    ('q', [('attn.qkv', (0,))]),
    (['v', 'q'], [('attn.qkv', (0, 2))]),
    (['qkv', 'k'], [('attn.qkv', None)]),
    (['proj', 'k'], [('attn.qkv', (1,)), ('attn.proj', None)]),
    ('mlp', [('mlp.lin1', None), ('mlp.lin2', None)]),
    ('lin2', [('mlp.lin2', None)])])
def test_targets_of_the_encoder(targets, expected):
    host = HOSTS['encoder'].build(None)
    assert names(host, targets, [1]) == [(f'blocks.1.{name}', parts) for name, parts in expected]
    assert len(names(host, targets)) == 2 * len(expected)


def test_targets_of_the_decoder():
    host = HOSTS['decoder'].build(None)
    attentions = [f'layers.{i}.{part}' for i in (0, 1)
                  for part in ('self_attn', 'cross_attn_token_to_image', 'cross_attn_image_to_token')]
    attentions.append('final_attn_token_to_image')
    every = {name for name, module in host.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, _ in names(host, 'q')} == {f'{attention}.q_proj' for attention in attentions}
    assert {name for name, _ in names(host, ['qkv', 'proj'])} == {f'{a}.{leaf}' for a in attentions for leaf in ATTENTION}
    assert {name for name, _ in names(host, ['qkv', 'proj', 'mlp'])} == every
    assert {name for name, _ in names(host, 'mlp', 'last:2')} == {'layers.1.mlp.lin1', 'layers.1.mlp.lin2'}
    assert all(parts is None for _, parts in names(host, ['q', 'v']))


@pytest.mark.parametrize('targets', ['query', ['qkv', 'attn.qkv'], []])
def test_targets_that_match_nothing(targets):
    with pytest.raises(ValueError, match='matches no linear layer: take from qkv, q, k, v, proj, mlp, lin1, lin2'):
        names(HOSTS['encoder'].build(None), targets)


def test_blocks_without_the_target():
    with pytest.raises(ValueError, match="blocks='last:1' have no linear layer of targets=\\('mlp',\\)"):
        names(HOSTS['decoder'].build(None), 'mlp', 'last:1')


@pytest.mark.parametrize('host, count', [('encoder', 2), ('decoder', 3)])
def test_blocks(host, count):
    host = HOSTS[host].build(None)
    blocks = blocks_of(host)
    assert len(blocks) == count
    for chosen, expected in {'all': range(count), 'first:1': [0], 'last:2': [count - 2, count - 1]}.items():
        assert list(chosen_blocks(host, chosen)) == list(expected)
        assert all(block is blocks[i] for i, block in chosen_blocks(host, chosen).items())
    assert list(chosen_blocks(host, (1, 0, 1))) == [0, 1]


def test_reached_parameters():
    host = HOSTS['encoder'].build(None)
    every = {name for name, _ in host.named_parameters()}
    inside = [{name for name in every if name.startswith(f'blocks.{i}.')} for i in (0, 1)]
    before = {'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    assert reached_parameters(host, 'all') == every
    assert reached_parameters(host, [0]) == every - inside[1]
    assert reached_parameters(host, 'last:1') == every - inside[0] - before
    decoder = HOSTS['decoder'].build(None)
    assert 'norm_final_attn.bias' in reached_parameters(decoder, [1])
    assert not [name for name in reached_parameters(decoder, [1]) if name.startswith(('layers.0', 'final_attn_token'))]


def test_place_rows():
    update = torch.arange(8.).view(4, 2)
    assert place_rows(update, None) is update
    assert place_rows(update, (0, 2)).tolist() == [[0, 1], [2, 3], [0, 0], [0, 0], [4, 5], [6, 7]]
    assert place_rows(update[:2], (1,)).tolist() == [[0, 0]] * 2 + [[0, 1], [2, 3]] + [[0, 0]] * 2


def test_extend_refuses_what_is_no_subclass():
    with pytest.raises(TypeError, match='Conv2d extends no Linear'):
        extend(nn.Linear(2, 2), nn.Conv2d)
