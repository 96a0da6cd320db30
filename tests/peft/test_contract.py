"""What every method of the PEFT registry owes, whoever wrote it."""
import copy
import pickle

import pytest
import torch

import mmsam_peft.peft  # noqa: F401  (fills the registry)
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import PEFTMethod, apply_peft, build_method
from mmsam_peft.registry import PEFT

ARCH = dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16)
METHODS = sorted(PEFT.module_dict)


def encoder(method: str | None, seed: int = 0, **settings) -> SAMViT:
    """One windowed and one global block on a 4 x 4 grid, which the windows of 3 do not divide."""
    torch.manual_seed(seed)
    return SAMViT(ARCH, img_size=64, peft=method and dict(type=method), **settings)


def adapted(method: str, seed: int = 0) -> SAMViT:
    """As after some training: nothing that was added is at its initial value."""
    model = encoder(method, seed)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name in model.peft.added:
            parameter.data.normal_(std=0.1)
    return model


def trained(model: SAMViT) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def images(batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def run(model: SAMViT, seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images(seed=seed))[0]


def train_step(model: SAMViT, seed: int = 0) -> None:
    loss = model.train()(images(seed=seed))[0].square().mean() + sum(model.peft.aux_losses(model).values())
    if loss.requires_grad:  # of Frozen nothing does
        loss.backward()


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


@pytest.mark.parametrize('train', [False, True])
def test_identity_at_initialisation(method, train):
    plain, model = encoder(None).train(train), encoder(method).train(train)
    model.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():  # attention takes other kernels where gradients are wanted, which rounds differently
        assert plain(images())[0].equal(model(images())[0])


def test_injection_keeps_the_names_and_values_of_the_base(method):
    plain = encoder(None)
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    apply_peft(plain, build_method(dict(type=method)))
    after = plain.state_dict()
    assert state.keys() <= after.keys()
    assert all(after[key].equal(value) for key, value in state.items())


def test_exactly_the_declared_parameters_change(method):
    model = encoder(method)
    declared = {name for name, _ in model.named_parameters() if model.peft.trains(name)}
    assert trained(model) == declared
    before = copy.deepcopy(model.state_dict())
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for seed in range(3):
        optimizer.zero_grad()
        train_step(model, seed)
        optimizer.step()
    assert {name for name, value in model.state_dict().items() if not value.equal(before[name])} == declared
    assert all(value.equal(buffers[name]) for name, value in model.named_buffers())


def test_every_trained_parameter_has_a_gradient_in_every_step(method):
    model = adapted(method)
    for seed in range(2):
        model.zero_grad()
        train_step(model, seed)
        assert trained(model) == {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_checkpoint_loads_alike_before_and_after_injection(method):
    source = {f'image_encoder.{key}': value for key, value in encoder(None, seed=7).state_dict().items()}
    before, after = encoder(None), encoder(method)
    before.load_sam(source, 'test')
    apply_peft(before, build_method(dict(type=method)))
    after.load_sam(source, 'test')
    for key, value in source.items():
        assert before.state_dict()[key.removeprefix('image_encoder.')].equal(value)
        assert after.state_dict()[key.removeprefix('image_encoder.')].equal(value)


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=['deepcopy', 'pickle'])
def test_copies(method, clone):
    model = adapted(method)
    model.train()(images())  # leaves auxiliary losses behind, which are part of a graph
    twin = clone(model)
    assert run(twin).equal(run(model))
    assert trained(twin) == trained(model)
    assert twin.peft.added == model.peft.added
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert run(model).abs().max() > 0


def test_builds_on_the_meta_device(method):
    real = encoder(method)
    with torch.device('meta'):
        ghost = encoder(method)
    assert all(parameter.is_meta for parameter in ghost.parameters())
    assert [(n, p.shape, p.requires_grad) for n, p in ghost.named_parameters()] == \
        [(n, p.shape, p.requires_grad) for n, p in real.named_parameters()]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(method, dtype):
    model = adapted(method)
    expected = run(model)
    with torch.autocast('cpu', dtype):
        got = run(model)
        train_step(model)
    assert (got - expected).norm() / expected.norm() < 0.05
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_weights(method, dtype):
    model = adapted(method)
    expected = run(model)
    model.to(dtype)
    for train in (False, True):
        with torch.no_grad():
            got = model.train(train)(images().to(dtype))[0]
        assert got.dtype == dtype and got.isfinite().all()
        if not train:
            assert (got - expected).norm() / expected.norm() < 0.05


def test_merging(method):
    model = adapted(method)
    state, expected = copy.deepcopy(model.state_dict()), run(model)
    try:
        model.peft.merge(model)
    except NotImplementedError as error:
        assert method in str(error)
        return
    merged = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(run(model), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    model.peft.merge(model)
    assert all(value.equal(merged[key]) for key, value in model.state_dict().items()), 'merging twice'
    for _ in range(2):
        model.peft.unmerge(model)
        assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    assert run(model).equal(expected)


def test_a_method_that_cannot_merge_says_so():
    for action in (PEFTMethod().merge, PEFTMethod().unmerge):
        with pytest.raises(NotImplementedError, match='PEFTMethod cannot be merged'):
            action(encoder(None))


@pytest.fixture
def scale_method():
    """A method added as anyone would add one: one registered class."""
    @PEFT.register_module()
    class Dummy(PEFTMethod):
        """Trains the norms and a scale of the patches."""

        def __init__(self, start: float = 1.0) -> None:
            self.start = start

        def inject(self, encoder):
            encoder.patch_embed.register_parameter('scale', torch.nn.Parameter(torch.tensor(self.start)))
            encoder.patch_embed.register_forward_hook(lambda module, _, out: out * module.scale)

        def trains(self, name):
            return super().trains(name) or 'norm' in name

        def aux_losses(self, encoder):
            return dict(loss_scale=encoder.patch_embed.scale ** 2)

    yield
    PEFT.module_dict.pop('Dummy')


def test_a_new_method_is_one_class(scale_method):
    model = SAMViT(ARCH, img_size=64, peft=dict(type='Dummy', start=2.0))
    assert model.peft.added == {'patch_embed.scale'}
    train_step(model)
    norms = {f'blocks.{i}.norm{j}.{kind}' for i in (0, 1) for j in (1, 2) for kind in ('weight', 'bias')}
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained(model) == with_gradient == {'patch_embed.scale'} | norms
    plain = SAMViT(ARCH, img_size=64)
    plain.load_state_dict(model.state_dict(), strict=False)
    assert not run(model).allclose(run(plain))
