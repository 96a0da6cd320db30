import copy
import importlib.util
import pickle
import sys
import warnings

import peft
import pytest
import torch
from mmengine import Config
from safetensors.torch import load, save
from torch import Tensor, nn

from mmsam_peft.peft import apply_peft, build_method, hf_peft, target_linears
from mmsam_peft.peft.hf_peft import ABLE, UNABLE, HFLinear
from mmsam_peft.registry import PEFT

from .conftest import HOSTS

KNOWN = set(
    """ADALORA ADAMSS ADAPTION_PROMPT BEFT BOFT C3A CARTRIDGE CPT DEFT DELORA FOURIERFT FROD
    GLORA GRALORA HIRA HRA IA3 LILY LN_TUNING LOHA LOKR LORA MISS MULTITASK_PROMPT_TUNING OFT
    OSF PEANUT POLY PREFIX_TUNING PROMPT_TUNING PSOFT PVERA P_TUNING RANDLORA ROAD SHADOW
    SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA VERA WAVEFT XLORA""".split()
)
"""The types of peft 0.21.2."""
SMALL = dict(
    BOFT=dict(boft_block_size=4),
    C3A=dict(block_size=8),
    DEFT=dict(init_weights=False),
    FOURIERFT=dict(n_frequency=50),
    GRALORA=dict(r=4, gralora_k=2),
    MISS=dict(r=4),
    OFT=dict(oft_block_size=4),
    RANDLORA=dict(r=4),
    ROAD=dict(group_size=8),
    SHIRA=dict(r=2),
    WAVEFT=dict(n_frequency=50),
)
"""What has to be smaller than its default in a host 32 channels wide; DEFT's default start needs
the base weights."""
SEEDS = dict(
    FOURIERFT='random_loc_seed',
    PVERA='projection_prng_key',
    RANDLORA='projection_prng_key',
    SHIRA='random_seed',
    VERA='projection_prng_key',
    WAVEFT='random_loc_seed',
)
NEVER_IDENTITY = {'C3A': 1e-3, 'DEFT': 1e-4, 'FOURIERFT': 1e-2, 'HRA': 1e-8}
"""And how far from it they are, at least."""
CASES = [(kind, host) for kind in ABLE for host in ('encoder', 'tokens')] + [('BEFT', 'dinov3')]
"""On maps and on tokens; test_contract.py tries one type in every host."""


def config(kind: str, **settings) -> dict:
    return dict(
        type='HFPeft',
        config=dict(peft_type=kind, **{**SMALL.get(kind, {}), **settings}),
        targets=['qkv', 'mlp'],
    )


def adapted(kind: str, host: str = 'encoder', seed: int = 0, **settings) -> nn.Module:
    model = HOSTS[host].build(config(kind, **settings), seed)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name in model.peft.added:
            parameter.data += torch.randn_like(parameter) * 0.05
    return model


def run(model: nn.Module, host: str = 'encoder', dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.no_grad():
        return HOSTS[host].run(model.eval(), [x.to(dtype) for x in HOSTS[host].inputs()])


def distance(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def trained(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def test_every_type_of_peft_is_accounted_for():
    assert set(ABLE) | set(UNABLE) == KNOWN and not set(ABLE) & set(UNABLE)
    if new := {kind.value for kind in peft.PeftType} - KNOWN:
        warnings.warn(
            f'peft {peft.__version__} has new types, which HFPeft refuses: '
            f'{", ".join(sorted(new))}',
            stacklevel=1,
        )


@pytest.mark.parametrize('kind, host', CASES)
def test_parameters(kind, host):
    """The base's are as before, in name, value and order; the tuner's, all of them and nothing
    else, are trained."""
    plain, model = HOSTS[host].build(None), HOSTS[host].build(None)
    method = build_method(config(kind))
    apply_peft(model, method)
    base = {name: value for name, value in model.named_parameters() if name not in method.added}
    assert list(base) == list(dict(plain.named_parameters()))
    assert all(base[name].equal(value) for name, value in plain.named_parameters())
    assert trained(model).keys() == method.added and method.added
    assert (
        model.state_dict().keys()
        == dict(model.named_parameters()).keys() | plain.state_dict().keys()
    )
    assert all('.default' in name for name in method.added)
    layers = [layer for layer in model.modules() if isinstance(layer, HFLinear)]
    assert len(layers) == len(list(target_linears(HOSTS[host].build(None), ('qkv', 'mlp'))))
    assert all(isinstance(layer.tuner, peft.tuners.tuners_utils.BaseTunerLayer) for layer in layers)
    assert all(
        layer.weight is layer.tuner.base_layer.weight and layer.bias is layer.tuner.base_layer.bias
        for layer in layers
    )
    load(save(model.state_dict()))  # refuses tensors that share memory


@pytest.mark.parametrize('kind, host', CASES)
def test_identity_at_initialisation(kind, host):
    """Of a base that is loaded later."""
    plain, model = HOSTS[host].build(None), HOSTS[host].build(config(kind), seed=1)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert model.peft.identity_at_init == (kind not in NEVER_IDENTITY)
    for train in (True, False):
        with torch.no_grad():
            expected, got = (
                HOSTS[host].run(one.train(train), HOSTS[host].inputs()) for one in (plain, model)
            )
        if model.peft.identity_at_init:
            assert got.equal(expected)
        else:
            assert distance(got, expected) > NEVER_IDENTITY[kind]


@pytest.mark.parametrize(
    'kind, settings, identity',
    [
        ('C3A', dict(init_weights=True), True),
        ('FOURIERFT', dict(init_weights=True), True),
        ('LORA', dict(init_lora_weights=True), True),
        ('LORA', dict(init_lora_weights=False), False),
        ('LOHA', dict(init_weights=False), False),
    ],
)
def test_a_chosen_start(kind, settings, identity):
    plain, model = (
        HOSTS['encoder'].build(None),
        HOSTS['encoder'].build(config(kind, **settings), seed=1),
    )
    model.load_state_dict(plain.state_dict(), strict=False)
    assert run(model).equal(run(plain)) == model.peft.identity_at_init == identity


@pytest.mark.parametrize('kind', ABLE)
def test_gradients(kind):
    model = adapted(kind).train()
    HOSTS['encoder'].run(model, HOSTS['encoder'].inputs()).square().mean().backward()
    gradients = {
        name
        for name, value in model.named_parameters()
        if value.grad is not None and value.grad.isfinite().all()
    }
    assert gradients == trained(model).keys()


@pytest.mark.parametrize('kind, host', CASES)
def test_merging(kind, host):
    model = adapted(kind, host)
    if kind == 'BEFT' and host == 'dinov3':  # DINOv3's keys have no bias
        with pytest.raises(ValueError, match='has no bias, cannot merge'):
            model.peft.merge(model)
        return
    state, expected = copy.deepcopy(model.state_dict()), run(model, host)
    plain = HOSTS[host].build(None)
    names = plain.state_dict().keys()
    for _ in range(2):
        model.peft.merge(model)
        merged = copy.deepcopy(model.state_dict())
        model.peft.merge(model)
        assert all(value.equal(merged[name]) for name, value in model.state_dict().items()), (
            'merging twice'
        )
        assert not all(merged[name].equal(state[name]) for name in names)
        plain.load_state_dict({name: merged[name] for name in names})
        got = run(model, host)
        # RandLoRA's random bases cancel to little, so that their rounding counts for more
        bound = 1e-3 if kind == 'RANDLORA' else 1e-5
        assert got.equal(run(plain, host)) and distance(got, expected) < bound
        model.peft.unmerge(model)
        assert all(value.equal(state[name]) for name, value in model.state_dict().items())
        assert run(model, host).equal(expected)
    model.peft.unmerge(model)
    assert run(model, host).equal(expected)


@pytest.mark.parametrize(
    'clone',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['deepcopy', 'pickle'],
)
@pytest.mark.parametrize('kind', ABLE)
def test_copies(kind, clone):
    """They compute the same; a base loaded into them, by values or as tensors, is theirs only, and
    used."""
    model, other = adapted(kind), HOSTS['encoder'].build(None, seed=3).state_dict()
    expected, twin = run(model), clone(model)
    assert run(twin).equal(expected) and trained(twin).keys() == trained(model).keys()
    twin.load_state_dict(other, strict=False)
    changed = run(twin)
    assert run(model).equal(expected) and not changed.equal(expected)
    model.load_state_dict(other, strict=False, assign=True)
    assert run(model).equal(changed)


@pytest.mark.parametrize('kind, host', CASES)
def test_trained_parameters_are_all_there_is_to_save(kind, host):
    model = adapted(kind, host)
    other = HOSTS[host].build(config(kind), seed=7)
    other.load_state_dict(HOSTS[host].build(None).state_dict(), strict=False)
    assert not run(other, host).equal(run(model, host))
    other.load_state_dict(trained(model), strict=False)
    assert run(other, host).equal(run(model, host))


@pytest.mark.parametrize('kind', SEEDS)
def test_random_projections_are_those_of_the_seed(kind):
    model, other = adapted(kind), HOSTS['encoder'].build(config(kind, **{SEEDS[kind]: 5}))
    other.load_state_dict(trained(model), strict=False)
    assert not run(other).allclose(run(model))


@pytest.mark.parametrize('kind', ABLE)
def test_meta_device(kind):
    real = HOSTS['encoder'].build(config(kind))
    with torch.device('meta'):
        ghost = HOSTS['encoder'].build(config(kind))
    assert all(tensor.is_meta for tensor in (*ghost.parameters(), *ghost.buffers()))
    assert [(n, p.shape, p.requires_grad) for n, p in ghost.named_parameters()] == [
        (n, p.shape, p.requires_grad) for n, p in real.named_parameters()
    ]


@pytest.mark.parametrize('kind', ABLE)
def test_dtypes(kind):
    model = adapted(kind)
    expected = run(model)
    assert (
        distance(run(copy.deepcopy(model).double(), dtype=torch.float64).float(), expected) < 1e-4
    )
    low = copy.deepcopy(model).bfloat16()
    assert {parameter.dtype for parameter in low.parameters()} == {torch.bfloat16}
    got = run(low, dtype=torch.bfloat16)
    assert got.dtype == torch.bfloat16 and got.isfinite().all()
    host = HOSTS['encoder'].build(None).bfloat16()
    apply_peft(host, build_method(config(kind)))
    assert {
        tensor.dtype
        for tensor in (*host.parameters(), *host.buffers())
        if tensor.is_floating_point()
    } == {torch.bfloat16}
    assert run(host, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_lora_is_ours():
    settings, host = dict(targets=['qkv', 'mlp'], blocks='last:1'), HOSTS['encoder']
    ours = host.build(dict(type='LoRA', rank=4, alpha=8, **settings))
    theirs = host.build(dict(config('LORA', r=4, lora_alpha=8), **settings))
    names = {
        name: name.replace('lora_A', 'lora_A.default.weight').replace(
            'lora_B', 'lora_B.default.weight'
        )
        for name, _ in ours.named_parameters()
    }
    assert set(names.values()) == dict(theirs.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        parameter.data.normal_(std=0.2)
        theirs.get_parameter(names[name]).data.copy_(parameter)
    torch.testing.assert_close(run(theirs), run(ours), rtol=1e-5, atol=1e-5)
    for model in (ours, theirs):
        host.run(model, host.inputs()).square().mean().backward()
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(
                theirs.get_parameter(names[name]).grad, parameter.grad, rtol=1e-4, atol=1e-6
            )
    for model in (ours, theirs):
        model.peft.merge(model)
    torch.testing.assert_close(theirs.blocks[1].mlp.lin2.weight, ours.blocks[1].mlp.lin2.weight)


def test_ia3_scales_the_mlps_inner_activations():
    model = HOSTS['encoder'].build(config('IA3'))
    shapes = {
        name.split('blocks.0.')[1]: tuple(value.shape)
        for name, value in trained(model).items()
        if 'blocks.0' in name
    }
    assert shapes == {
        'attn.qkv.ia3_l.default': (96, 1),
        'mlp.lin1.ia3_l.default': (128, 1),
        'mlp.lin2.ia3_l.default': (1, 128),
    }


def test_a_tuner_may_train_biases_of_the_base():
    model = HOSTS['encoder'].build(config('LORA', bias='lora_only'))
    base = {name for name in trained(model) if 'lora' not in name}
    assert base == {
        f'blocks.{i}.{layer}.bias'
        for i in range(2)
        for layer in ('attn.qkv', 'mlp.lin1', 'mlp.lin2')
    }


def test_a_config_of_mmengine():
    settings = Config(
        dict(
            peft=dict(
                type='HFPeft',
                config=dict(peft_type='LORA', r=4, rank_pattern={'blocks.1.attn.qkv': 2}),
            )
        )
    )
    model = HOSTS['encoder'].build(settings.peft)
    assert [len(block.attn.qkv.lora_A.default.weight) for block in model.blocks] == [4, 2]


def build_error(
    kind: type[Exception], message: str, host: str = 'encoder', targets=('qkv',), **settings
) -> None:
    with pytest.raises(kind, match=message):
        HOSTS[host].build(dict(type='HFPeft', config=settings, targets=targets))


@pytest.mark.parametrize('kind', UNABLE)
def test_types_that_cannot_work_say_why(kind):
    build_error(
        ValueError,
        f"peft_type='{kind}' {UNABLE[kind]}: use one of BEFT, .*LORA, .*WAVEFT",
        peft_type=kind,
    )


@pytest.mark.parametrize(
    'settings',
    [
        dict(peft_type='LORA', use_dora=True),
        dict(peft_type='LORA', init_lora_weights='pissa'),
        dict(peft_type='LORA', init_lora_weights='olora'),
        dict(peft_type='DEFT'),
    ],
)
def test_start_computed_from_the_base(settings):
    build_error(
        ValueError,
        'The tuner of config=.* computes its start from the base weights, .*: choose another',
        **settings,
    )


def test_bad_input():
    build_error(
        ValueError, "peft_type='lora' is unknown to peft .*: use one of BEFT", peft_type='lora'
    )
    build_error(ValueError, 'peft_type=None is unknown')
    build_error(
        ValueError,
        'config sets target_modules: say where .* by targets',
        peft_type='LORA',
        target_modules=['qkv'],
    )
    build_error(
        ValueError,
        'config sets modules_to_save: .* unfreeze',
        peft_type='LORA',
        modules_to_save=['neck'],
    )
    build_error(
        ValueError,
        'rank, which LOHA of peft .* does not have: choose from alpha, .*, r, ',
        peft_type='LOHA',
        rank=4,
    )
    build_error(
        ValueError,
        "'q', .* q, k and v are one: choose 'qkv', or .* LoRA",
        targets=('q', 'proj'),
        peft_type='LOHA',
    )
    build_error(
        ValueError, "target 'kqv' matches no linear layer", targets=('kqv',), peft_type='LOHA'
    )


def test_q_of_the_decoder_is_a_layer():
    model = HOSTS['decoder'].build(dict(config('LORA'), targets=['q']))
    assert {name.split('.lora')[0].split('.')[-1] for name in model.peft.added} == {'q_proj'}


def test_without_peft(monkeypatch):
    """It is imported only to build the method: the module itself loads without."""
    monkeypatch.setitem(sys.modules, 'peft', None)
    monkeypatch.delitem(PEFT.module_dict, 'HFPeft')
    spec = importlib.util.spec_from_file_location('mmsam_peft.peft.hf_peft', hf_peft.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    build_error(
        ImportError,
        r"HFPeft needs Hugging Face's peft: pip install 'mmsam_peft\[peft\]'",
        peft_type='LOHA',
    )
