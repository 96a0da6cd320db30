import pytest
import torch
from torch import nn

from mmsam_peft.peft import (
    Anatomy,
    BlockParts,
    anatomy_of,
    chosen_blocks,
    reached_parameters,
    specialise_in_place,
    target_linears,
)
from mmsam_peft.peft.qkv import QKVParts, gather_qkv_rows, scatter_qkv_rows, split_qkv_columns

from .conftest import HOSTS

ATTENTION = ('q_proj', 'k_proj', 'v_proj', 'out_proj')


def names(host: nn.Module, targets, blocks='all') -> list[tuple[str, tuple[int, ...] | None]]:
    """The targets by their names in the host."""
    paths = {id(module): path for path, module in host.named_modules()}
    return [
        (
            f'{paths[id(target.parent)]}.{target.attribute}'.lstrip('.'),
            target.qkv_parts and target.qkv_parts.chosen,
        )
        for target in target_linears(host, targets, blocks)
    ]


@pytest.mark.parametrize(
    'targets, expected',
    [
        ('qkv', [('attn.qkv', (0, 1, 2))]),
        (['q', 'k', 'v'], [('attn.qkv', (0, 1, 2))]),
        ('q', [('attn.qkv', (0,))]),
        (['v', 'q'], [('attn.qkv', (0, 2))]),
        (['qkv', 'k'], [('attn.qkv', (0, 1, 2))]),
        (['proj', 'k'], [('attn.qkv', (1,)), ('attn.proj', None)]),
        ('mlp', [('mlp.lin1', None), ('mlp.lin2', None)]),
        ('lin2', [('mlp.lin2', None)]),
    ],
)
def test_targets_of_the_encoder(targets, expected):
    host = HOSTS['encoder'].build(None)
    assert names(host, targets, [1]) == [(f'blocks.1.{name}', parts) for name, parts in expected]
    assert len(names(host, targets)) == 2 * len(expected)


def test_targets_of_the_decoder():
    host = HOSTS['decoder'].build(None)
    attentions = [
        f'layers.{i}.{part}'
        for i in (0, 1)
        for part in ('self_attn', 'cross_attn_token_to_image', 'cross_attn_image_to_token')
    ]
    attentions.append('final_attn_token_to_image')
    every = {name for name, module in host.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name, _ in names(host, 'q')} == {
        f'{attention}.q_proj' for attention in attentions
    }
    assert {name for name, _ in names(host, ['qkv', 'proj'])} == {
        f'{a}.{leaf}' for a in attentions for leaf in ATTENTION
    }
    assert {name for name, _ in names(host, ['qkv', 'proj', 'mlp'])} == every
    assert {name for name, _ in names(host, 'mlp', 'last:2')} == {
        'layers.1.mlp.lin1',
        'layers.1.mlp.lin2',
    }
    assert all(parts is None for _, parts in names(host, ['q', 'v']))


def test_targets_in_every_block_of_other_hosts():
    """Under whatever names; of stages, without the blocks' own ``proj``."""
    stages, tokens = HOSTS['stages'].build(None), HOSTS['tokens'].build(None)
    blocks = [f'stages.{stage}' for stage in ('0.0', '1.0', '1.1')]
    own = [
        ('attn.qkv', (0, 1, 2)),
        ('attn.proj', None),
        ('mlp.layers.0', None),
        ('mlp.layers.1', None),
    ]
    assert names(stages, ['qkv', 'mlp', 'proj']) == [
        (f'{block}.{name}', parts) for block in blocks for name, parts in own
    ]
    assert {target.qkv_parts for target in target_linears(stages, ['v', 'q'])} == {
        QKVParts((0, 2), groups=2)
    }
    assert names(tokens, ['q', 'v', 'lin2'], [1]) == [
        (f'layers.1.{name}', None) for name in ('query', 'value', 'feed.2')
    ]
    assert [target.role for target in target_linears(tokens, ['qkv', 'proj', 'mlp'], [0])] == [
        'q',
        'k',
        'v',
        'proj',
        'lin1',
        'lin2',
    ]


def test_a_target_that_only_some_blocks_have(monkeypatch):
    """Passed over only where the host says that a block has no such layer by its nature."""
    host, anatomy = HOSTS['stages'].build(None), HOSTS['stages'].anatomy
    for lacks in ((), ('lin1', 'lin2')):
        without = BlockParts(linears=dict(qkv='attn.qkv', proj='attn.proj'), lacks=lacks)
        stated = Anatomy(anatomy_of(host).blocks, [*anatomy.parts[:2], without])
        monkeypatch.setattr(type(host), 'anatomy', property(lambda _, stated=stated: stated))
        if lacks:
            assert len(names(host, ['qkv', 'mlp'])) == 3 + 2 * 2
        else:
            with pytest.raises(
                ValueError,
                match="'all' have no linear layer of target 'mlp': Stages has none in block 2",
            ):
                names(host, ['qkv', 'mlp'])


@pytest.mark.parametrize('targets', ['query', ['qkv', 'attn.qkv'], []])
def test_targets_that_match_nothing(targets):
    with pytest.raises(
        ValueError, match='matches no linear layer: choose from qkv, q, k, v, proj, mlp, lin1, lin2'
    ):
        names(HOSTS['encoder'].build(None), targets)


def test_blocks_without_the_target():
    message = (
        "blocks='last:1' have no linear layer of target 'mlp': "
        'TwoWayTransformer has none in block 2. Choose from qkv, '
    )
    with pytest.raises(ValueError, match=message):
        names(HOSTS['decoder'].build(None), 'mlp', 'last:1')


@pytest.mark.parametrize('host, count', [('encoder', 2), ('decoder', 3)])
def test_blocks(host, count):
    host = HOSTS[host].build(None)
    blocks = anatomy_of(host).blocks
    assert len(blocks) == count
    for chosen, expected in {
        'all': range(count),
        'first:1': [0],
        'last:2': [count - 2, count - 1],
    }.items():
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
    assert not [
        name
        for name in reached_parameters(decoder, [1])
        if name.startswith(('layers.0', 'final_attn_token'))
    ]


def test_rows_of_thirds():
    update = torch.arange(8.0).view(4, 2)
    assert (
        scatter_qkv_rows(update, None) is update and scatter_qkv_rows(update, QKVParts()) is update
    )
    assert scatter_qkv_rows(update, QKVParts((0, 2))).tolist() == [
        [0, 1],
        [2, 3],
        [0, 0],
        [0, 0],
        [4, 5],
        [6, 7],
    ]
    assert (
        scatter_qkv_rows(update[:2], QKVParts((1,))).tolist()
        == [[0, 0]] * 2 + [[0, 1], [2, 3]] + [[0, 0]] * 2
    )


@pytest.mark.parametrize(
    'groups, rows',
    [
        (1, {0: [0, 1, 2, 3], 1: [4, 5, 6, 7], 2: [8, 9, 10, 11]}),
        (2, {0: [0, 1, 6, 7], 1: [2, 3, 8, 9], 2: [4, 5, 10, 11]}),
    ],
)
@pytest.mark.parametrize('chosen', [(0,), (0, 2), (1, 2), (0, 1, 2)])
def test_rows_of_any_layout(groups, rows, chosen):
    """What is scattered lies in the rows of the chosen parts, in order, and comes back; split, each
    in its own columns."""
    qkv_parts, own = QKVParts(chosen, groups), sorted(row for part in chosen for row in rows[part])
    update = torch.arange(1.0, 1 + 2 * len(own)).view(-1, 2)
    whole = scatter_qkv_rows(update, qkv_parts)
    assert whole[own].equal(update) and whole.count_nonzero() == update.numel() and len(whole) == 12
    assert gather_qkv_rows(whole, qkv_parts).equal(update)
    split = split_qkv_columns(update, qkv_parts)
    for i, part in enumerate(chosen):
        assert split[rows[part], 2 * i : 2 * i + 2].equal(whole[rows[part]])
    assert split.count_nonzero() == update.numel() and split.shape == (12, 2 * len(chosen))


def test_specialising_refuses_another_module():
    with pytest.raises(TypeError, match='Conv2d extends no Linear'):
        specialise_in_place(nn.Linear(2, 2), nn.Conv2d)
