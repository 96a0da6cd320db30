"""What a host states is checked, and what it does not state is asked for."""

import copy

import pytest
from torch import nn

from mmsam_peft.peft import (
    Anatomy,
    BlockParts,
    PEFTMethod,
    anatomy_of,
    apply_peft,
    build_method,
    what_is_missing,
)

from .conftest import HOSTS


def block() -> nn.ModuleDict:
    return nn.ModuleDict(dict(qkv=nn.Linear(4, 12), up=nn.Linear(4, 8), down=nn.Linear(8, 4)))


@pytest.mark.parametrize(
    'parts, can, message',
    [
        (
            dict(linears=dict(qkv='attn.qkv')),
            (),
            "Block 0, a ModuleDict, has no 'attn.qkv': its modules are qkv, up, down",
        ),
        (
            dict(linears=dict(qkv='qkv'), mlp='feed'),
            (),
            "Block 0 has the mlp 'feed': state its layers as roles",
        ),
        (
            dict(linears=dict(query='qkv')),
            (),
            "Block 0: got the role 'query', expected of qkv, q, k, v, proj, lin1, lin2",
        ),
        (dict(linears=dict(qkv='qkv', q='up')), (), 'Block 0 has qkv as one layer and apart'),
        (
            dict(linears=dict(q='up', k='up', v='up')),
            {'branches'},
            "no fused qkv, which 'branches' promises",
        ),
        (
            dict(linears=dict(qkv='qkv')),
            {'map'},
            r"can=\['map'\]: expected some of maps, tokens, walk, branches, resize",
        ),
        (dict(linears=dict(qkv='qkv')), {'mlp'}, r"can=\['mlp'\]: expected some of maps"),
        (dict(linears=dict(qkv='qkv')), {'walk'}, "can 'walk', but patches is None"),
    ],
)
def test_false_statements(parts, can, message):
    with pytest.raises(ValueError, match=message):
        Anatomy([block()], BlockParts(**parts), can=can)


def test_layers_that_nobody_calls():
    attention = nn.ModuleDict(dict(attn=nn.MultiheadAttention(4, 2)))
    with pytest.raises(
        ValueError,
        match='Block 0 has an nn.MultiheadAttention, which uses the weights of its layers without',
    ):
        Anatomy([attention], BlockParts(linears=dict(proj='attn.out_proj')))


def test_a_host_without_anatomy():
    with pytest.raises(
        ValueError,
        match='Sequential states no anatomy.* Known are ImageEncoderViT, SamVisionEncoder, TwoWay',
    ):
        apply_peft(nn.Sequential(), build_method(dict(type='LoRA')))


def test_a_subclass_is_described_as_its_base():
    host = HOSTS['segment_anything'].build(None)
    host.__class__ = type('MedicalEncoder', (type(host),), {})
    assert anatomy_of(host).blocks == tuple(host.blocks)


def test_blocks_of_several_widths():
    anatomy = HOSTS['stages'].anatomy
    assert anatomy.width([2]) == 32 and anatomy.width([0, 1]) == 16
    with pytest.raises(
        ValueError,
        match='Blocks 0 to 2 are 16, 32 channels wide, and the method needs blocks of one width',
    ):
        anatomy.width(range(3))


def test_what_vpt_needs_depends_on_its_kind():
    host = HOSTS['decoder'].build(None)
    assert (
        what_is_missing(build_method(dict(type='VPT')), host)
        == 'an attention that takes extra tokens'
    )
    assert 'a loop over the blocks that can be replaced' in what_is_missing(
        build_method(dict(type='VPT', deep=False)), host
    )
    assert what_is_missing(build_method(dict(type='LoRA')), host) == ''


def test_a_refused_host_stays_as_it_was():
    host = HOSTS['tokens'].build(None)
    names = [name for name, _ in host.named_parameters()]
    for peft, message in [
        (dict(type='VPT'), 'VPT needs'),
        (dict(type='SSF', blocks=[9]), 'there are 2 blocks'),
        (dict(type='LoRA', targets=['qkv', 'mpl']), "'mpl' matches no"),
    ]:
        with pytest.raises(ValueError, match=message):
            apply_peft(host, build_method(peft))
    with pytest.raises(ValueError, match="unfreeze='nek' matches no parameter"):
        apply_peft(host, build_method(dict(type='LoRA')), 'nek')
    assert [name for name, p in host.named_parameters() if p.requires_grad] == names


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda host: setattr(host.layers[0].ln_a, 'weight', None),
            'into the weight, and layers.0.ln_a, a LayerNorm, has none',
        ),
        (
            lambda host: setattr(host.layers[1], 'ln_a', nn.GroupNorm(1, 32)),
            'scales nn.LayerNorm, and layers.1.ln_a is a Group',
        ),
    ],
)
def test_layers_that_ssf_cannot_scale(monkeypatch, change, message):
    host = HOSTS['tokens'].build(None)
    change(host)
    monkeypatch.setattr(
        type(host),
        'anatomy',
        property(
            lambda host: Anatomy(
                host.layers, HOSTS['tokens'].anatomy.parts, norms=(nn.LayerNorm, nn.GroupNorm)
            )
        ),
    )
    with pytest.raises(ValueError, match=message):
        apply_peft(host, build_method(dict(type='SSF')))


@pytest.mark.parametrize('name', ['BitFit', 'NormTuning'])
def test_methods_that_would_train_nothing(monkeypatch, name):
    host = HOSTS['tokens'].build(None)
    for module in host.modules():
        if hasattr(module, 'bias'):
            module.bias = None
    monkeypatch.setattr(
        type(host),
        'anatomy',
        property(
            lambda host: Anatomy(host.layers, HOSTS['tokens'].anatomy.parts, norms=(nn.GroupNorm,))
        ),
    )
    with pytest.raises(ValueError, match=f'{name}.* of Tokens have no'):
        apply_peft(host, build_method(dict(type=name)))


def test_one_method_in_a_host():
    host = HOSTS['tokens'].build(dict(type='LoRA'))
    for twin in (host, copy.deepcopy(host)):
        with pytest.raises(
            ValueError, match='Tokens has LoRA in it already, which Adapter would replace in part'
        ):
            apply_peft(twin, build_method(dict(type='Adapter')))


def test_a_need_that_is_no_word():
    method = PEFTMethod()
    method.needs = frozenset({'map'})
    with pytest.raises(ValueError, match='PEFTMethod needs map: expected of maps, tokens, walk'):
        apply_peft(HOSTS['tokens'].build(None), method)
