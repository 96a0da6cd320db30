"""What every method of the PEFT registry owes, whoever wrote it, in every host of hosts/: it works,
or it is refused with a reason. What depends on the method more than on the host is tested in SAM's
encoder and decoder alone (``own``)."""

import copy
import inspect
import pickle

import pytest
import torch

from mmsam_peft.peft import PEFTMethod, apply_peft, build_method
from mmsam_peft.registry import PEFT

from .conftest import CASES, HOSTS, PAIRS

METHODS = sorted(PEFT.module_dict)
CONSTANTS = {
    'DoRA': "the row norms are constants to the gradient (its paper's section 4.3); test_dora.py "
    'checks it'
}
"""Methods whose gradient is on purpose not the derivative."""
STEP = {'TALoRA': 0.01}
"""How far parameters are moved from their initial values, where not 0.1: TA-LoRA's factors start at
N(0, 1), and a core of 0.1 would make its update many times the frozen projection."""
FOREIGN = {'LST', 'SAMAdapter', 'TALoRA', 'TaskLoRA', 'VPT'}
REFUSED = dict(
    encoder=set(),
    decoder=FOREIGN | {'ConvLoRA'},
    tokens=FOREIGN | {'ConvLoRA'},
    stages=FOREIGN,
    tiny_vit={'LST', 'SAMAdapter'},
    hiera={'LST', 'SAMAdapter'},
    sam3=set(),
    efficient_sam=set(),
    segment_anything=FOREIGN,
    hugging_face=FOREIGN,
    dinov2=FOREIGN - {'VPT'},
    dinov3=FOREIGN - {'VPT'},
)
"""What does not go into the hosts we know. Whatever else is registered has to go by its needs."""
WITH_BLOCKS = [name for name in METHODS if 'blocks' in inspect.signature(PEFT.get(name)).parameters]


def adapted(case, seed: int = 0, **settings) -> torch.nn.Module:
    """As after some training: nothing that was added is at its initial value."""
    name, host = case
    model = host.build(dict(type=name), seed, **settings)
    torch.manual_seed(1)
    for key, parameter in model.named_parameters():
        if key in model.peft.added:
            parameter.data += torch.randn_like(parameter) * STEP.get(name, 0.1)
    return model


def trained(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def run(case, model, seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return case[1].run(model.eval(), case[1].inputs(seed))


def train_step(case, model, seed: int = 0) -> None:
    torch.manual_seed(seed)  # of what a method draws
    loss = case[1].run(model.train(), case[1].inputs(seed)).square().mean() + sum(
        model.peft.aux_losses(model).values()
    )
    if loss.requires_grad:  # of Frozen nothing does
        loss.backward()


def gradients(model) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@torch.no_grad()
def test_identity_at_initialisation(case):
    name, host = case
    plain, model = host.build(None), host.build(dict(type=name), seed=1)
    model.load_state_dict(plain.state_dict(), strict=False)
    for one in (plain, model):  # where gradients are wanted, other kernels round differently
        one.requires_grad_(False)
    for train in (False, True):
        expected, found = (host.run(one.train(train), host.inputs()) for one in (plain, model))
        assert found.equal(expected) == model.peft.identity_at_init
    if not model.peft.identity_at_init:
        assert 'identity' in inspect.getdoc(type(model.peft)), 'the docstring has to say why'


def test_injection_keeps_the_names_and_values_of_the_base(case):
    name, host = case
    plain = host.build(None)
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    names = [key for key, _ in plain.named_parameters()]
    method = build_method(dict(type=name))
    apply_peft(plain, method)
    after = plain.state_dict()
    assert [key for key, _ in plain.named_parameters() if key not in method.added] == names
    assert state.keys() <= after.keys()
    assert all(after[key].equal(value) for key, value in state.items())


def test_exactly_the_declared_parameters_change(case):
    """Real optimizer steps with weight decay; neither a frozen parameter nor a buffer moves."""
    model = case[1].build(dict(type=case[0]))
    declared = {name for name, _ in model.named_parameters() if model.peft.trains(name)}
    assert trained(model) == declared
    assert bool(declared) == (case[0] != 'Frozen')
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for seed in range(3):
        optimizer.zero_grad()
        train_step(case, model, seed)
        optimizer.step()
    assert {
        name for name, value in model.state_dict().items() if not value.equal(before[name])
    } == declared


def test_every_trained_parameter_has_a_gradient_in_every_step(case):
    model = adapted(case)
    for seed in range(2):
        model.zero_grad()
        train_step(case, model, seed)
        assert trained(model) == gradients(model).keys()


def test_gradients_are_right(case):
    """Against finite differences of the loss in float64, along a random direction of all trained
    parameters at once."""
    model = adapted(case).double().eval()
    inputs = [x.double() for x in case[1].inputs()]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or case[0] in CONSTANTS:
        return

    def loss() -> torch.Tensor:
        return case[1].run(model, inputs).square().mean()

    loss().backward()
    torch.manual_seed(2)
    directions = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(
        (parameter.grad * direction).sum()
        for parameter, direction in zip(parameters, directions, strict=True)
        if parameter.grad is not None
    )
    size = 1e-7 if case[1].pools else 1e-6  # a maximum has kinks, of which that crosses fewer
    values = []
    with torch.no_grad():
        for step in (size, -2 * size):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += step * direction
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / (2 * size), slope, rtol=1e-4, atol=1e-7)


def test_two_forwards_before_one_backward(own):
    """A forward pass leaves nothing behind that another, or the backward pass, would trip over."""
    model, (first, second) = adapted(own).eval(), (own[1].inputs(0), own[1].inputs(1))
    if not trained(model):
        return
    for inputs in (first, second):
        own[1].run(model, inputs).square().mean().backward()
    apart = {name: gradient.clone() for name, gradient in gradients(model).items()}
    model.zero_grad()
    sum(own[1].run(model, inputs).square().mean() for inputs in (first, second)).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, apart[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    'clone',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['deepcopy', 'pickle'],
)
def test_copies(own, clone):
    model = adapted(own)
    own[1].run(
        model.train(), own[1].inputs()
    )  # leaves auxiliary losses behind, which are part of a graph
    twin = clone(model)
    assert run(own, twin).equal(run(own, model))
    assert trained(twin) == trained(model)
    assert twin.peft.added == model.peft.added
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert run(own, model).abs().max() > 0


def test_builds_on_the_meta_device(own):
    real = own[1].build(dict(type=own[0]))
    with torch.device('meta'):
        ghost = own[1].build(dict(type=own[0]))
    assert all(parameter.is_meta for parameter in ghost.parameters())
    assert [(n, p.shape, p.requires_grad) for n, p in ghost.named_parameters()] == [
        (n, p.shape, p.requires_grad) for n, p in real.named_parameters()
    ]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(own, dtype):
    model = adapted(own)
    expected = run(own, model)
    with torch.autocast('cpu', dtype):
        got = run(own, model)
        train_step(own, model)
    assert (got - expected).norm() / expected.norm() < 0.05
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert trained(model) == gradients(model).keys()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_weights(own, dtype):
    model = adapted(own)
    expected = run(own, model)
    model.to(dtype)
    inputs = [x.to(dtype) for x in own[1].inputs()]
    for train in (False, True):
        with torch.no_grad():
            got = own[1].run(model.train(train), inputs)
        assert got.dtype == dtype and got.isfinite().all()
        if not train:
            assert (got - expected).norm() / expected.norm() < 0.05


def test_merging(case):
    model = adapted(case)
    state, expected = copy.deepcopy(model.state_dict()), run(case, model)
    if model.peft.merges == 'no':
        for action in (model.peft.merge, model.peft.unmerge):
            with pytest.raises(NotImplementedError, match='cannot be merged'):
                action(model)
        return
    model.peft.merge(model)
    merged = copy.deepcopy(model.state_dict())
    assert merged.keys() == state.keys()
    torch.testing.assert_close(
        run(case, model), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
    )
    model.peft.merge(model)
    assert all(value.equal(merged[key]) for key, value in model.state_dict().items()), (
        'merging twice'
    )
    if model.peft.merges == 'fully':
        plain = case[1].build(None)
        plain.load_state_dict({key: merged[key] for key in plain.state_dict()})
        torch.testing.assert_close(
            run(case, plain), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
        )
    for _ in range(2):
        model.peft.unmerge(model)
        assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    assert run(case, model).equal(expected)


def test_trained_parameters_are_all_that_a_file_needs(case):
    name, host = case
    model, fresh = adapted(case), host.build(dict(type=name))
    state = {
        key: value
        for key, value in model.state_dict().items()
        if key in trained(model) or key not in host.names
    }
    assert not fresh.load_state_dict(state, strict=False).unexpected_keys
    assert run(case, fresh).equal(run(case, model))


@pytest.mark.parametrize('name, host', PAIRS)
def test_what_does_not_go_in_is_refused(name, host):
    if (name, host) in CASES:
        assert name not in REFUSED.get(host, ())
        return
    assert name in REFUSED.get(host, {name})
    with pytest.raises(
        ValueError, match=f'^{name} needs .*, which .* does not have: use one of .*LoRA'
    ) as error:
        HOSTS[host].build(dict(type=name))
    fit = str(error.value).rpartition('use one of ')[2].rstrip('.').split(', ')
    assert fit == [other for other in METHODS if (other, host) in CASES]


@pytest.mark.parametrize('name', METHODS)
def test_checkpoint_loads_alike_before_and_after_injection(name):
    host = HOSTS['encoder']
    source = {
        f'image_encoder.{key}': value
        for key, value in host.build(None, seed=7).state_dict().items()
    }
    before, after = host.build(None), host.build(dict(type=name))
    before.load_sam(source, 'test')
    torch.manual_seed(3)
    apply_peft(before, build_method(dict(type=name)))
    after.load_sam(source, 'test')
    for key, value in source.items():
        assert before.state_dict()[key.removeprefix('image_encoder.')].equal(value)
        assert after.state_dict()[key.removeprefix('image_encoder.')].equal(value)
    own = {key: value for key, value in after.state_dict().items() if key in after.peft.added}
    before.load_state_dict(own, strict=False)
    assert all(before.state_dict()[key].equal(value) for key, value in own.items())
    plain = torch.no_grad()(lambda model: host.run(model.eval(), host.inputs()))
    assert plain(before).equal(plain(after))


@pytest.mark.parametrize('name', METHODS)
def test_activation_checkpointing_changes_nothing(name):
    models = [
        adapted((name, HOSTS['encoder']), checkpointing=checkpointing)
        for checkpointing in (False, True)
    ]
    for model in models:
        train_step((name, HOSTS['encoder']), model)
    expected, got = map(gradients, models)
    assert expected.keys() == got.keys() == trained(models[0])
    for key, gradient in expected.items():
        torch.testing.assert_close(got[key], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', METHODS)
def test_any_image_size(name):
    model = adapted((name, HOSTS['encoder']))
    for size in ((48, 80), (30, 100)):
        grid = tuple(-(-side // 16) for side in size)
        assert model(torch.randn(1, 3, *size))[0].shape == (1, 16, *grid)


@pytest.mark.parametrize('blocks, chosen', [('all', (0, 1)), ('last:1', (1,)), ([0], (0,))])
@pytest.mark.parametrize('name', WITH_BLOCKS)
def test_blocks(name, blocks, chosen):
    """What is trained lies in the chosen blocks, and autograd begins with the first of them."""
    host, starts = HOSTS['encoder'], []
    model = host.build(dict(type=name, blocks=blocks))
    for i, block in enumerate(model.blocks):
        assert not trained(block) or i in chosen
        block.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[0].requires_grad))
    train_step((name, host), model)
    assert trained(model) == gradients(model).keys() and trained(model)
    assert 0 in chosen or starts[0] is False


@pytest.mark.parametrize(
    'name, blocks',
    [(name, [2]) for name in WITH_BLOCKS]
    + [('LoRA', blocks) for blocks in ('last:3', 'some', 'last', 'first:0', 'all:1', [-1], [])],
)
def test_blocks_that_are_not_there(name, blocks):
    with pytest.raises(
        ValueError, match=r"blocks=.*: use 'all', 'first:N', 'last:N' or a list .* 2 blocks, 0 to 1"
    ):
        HOSTS['encoder'].build(dict(type=name, blocks=blocks))


def test_a_method_that_cannot_merge_says_so():
    for action in (PEFTMethod().merge, PEFTMethod().unmerge):
        with pytest.raises(NotImplementedError, match='PEFTMethod cannot be merged'):
            action(HOSTS['encoder'].build(None))


def test_unknown_method_lists_the_known():
    with pytest.raises(
        ValueError, match="peft type='Lora' is unknown: use one of .*ConvLoRA.*LoRA"
    ):
        HOSTS['encoder'].build(dict(type='Lora'))
