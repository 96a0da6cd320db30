"""Training with every weighting, against the same by hand."""

import weakref
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from two_processes import run_in_two_processes

from mmsam_peft.engine import AutocastOptimWrapper
from mmsam_peft.engine.hooks import PlainCheckpointHook
from mmsam_peft.engine.step_guard import StepGuard
from mmsam_peft.registry import WEIGHTINGS

TASKS = dict(a=1.0, b=3.0)
NAMES = sorted(WEIGHTINGS.module_dict)
CASES = [
    (name, one_by_one)
    for one_by_one in (False, True)
    for name in NAMES
    if not (name == 'GLS' and one_by_one)
]
NUMBERS = count()
Batch = dict[str, Tensor]


class Toy(BaseModel):
    """``b`` wants of the shared layer the contrary of ``a``, and more. A target that is no number
    is no label."""

    def __init__(
        self, weighting: str, one_by_one: bool = False, tasks: dict[str, float] = TASKS
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.shared = nn.Linear(4, 3)
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(3, channels)
                for name, channels in dict(a=1, b=2).items()
                if name in tasks
            }
        )
        if 'b' in tasks:
            self.heads.b.weight.data = -2 * self.heads.a.weight.data.repeat(2, 1)
        options = dict(interval=2) if weighting == 'DWA' else {}
        self.weighting = WEIGHTINGS.build(dict(type=weighting, tasks=tasks, **options))
        self.tasks, self.one_by_one = tasks, one_by_one
        self.double()

    def task_losses(self, batch: Batch, names: list[str]) -> dict[str, Tensor]:
        features, losses = self.shared(self.frozen(batch['x'])).tanh(), {}
        for name in names:
            errors, known = self.heads[name](features) - batch[name], batch[name].isfinite()
            losses[f'{name}.loss'] = errors[known].square().sum() / known.sum().clamp(min=1)
        return losses

    def aux_losses(self) -> dict[str, Tensor]:
        return {'loss_aux': 0.1 * self.shared.weight.square().sum()}

    def forward(self, mode: str = 'loss', **batch: Tensor) -> dict[str, Tensor]:
        if not self.one_by_one:
            return {
                **self.task_losses(batch, list(self.tasks)),
                **self.aux_losses(),
                'norm': batch['x'].norm(),
            }
        return {
            'norm': batch['x'].norm(),
            **{
                f'{name}.loss': self.weighting.later('cpu', partial(self.one_task, batch, name))
                for name in self.tasks
            },
        }

    def one_task(self, batch: Batch, name: str) -> dict[str, Tensor]:
        return {**self.task_losses(batch, [name]), **self.aux_losses()}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weighting(losses, self.parameters())


def make_batches(number: int, size: int = 4) -> list[Batch]:
    x, y = torch.randn(2, number, size, 4, generator=torch.Generator().manual_seed(1)).double()
    return [dict(x=x[i], a=y[i, :, :1] + 1, b=y[i, :, :2] + 1) for i in range(number)]


def joined(batches: list[Batch]) -> Batch:
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


# By hand: what loss weightings minimise, from the losses times weights of this iteration and those
# before


def dwa(history: list[Tensor], losses: Tensor) -> Tensor:
    means = [torch.stack(history[i : i + 2]).mean(0) for i in range(0, len(history) - 1, 2)]
    ratio = means[-1] / means[-2] if len(means) > 1 else torch.ones_like(losses)
    return ((ratio / 2).exp() / (ratio / 2).exp().sum() * losses).sum()


OBJECTIVES = dict(
    Fixed=lambda plain, losses: losses.mean(),
    Uncertainty=lambda plain, losses: (
        losses / plain.log_variances.exp() + plain.log_variances
    ).mean(),
    DWA=lambda plain, losses: dwa(plain.history, losses),
    RLW=lambda plain, losses: (
        torch.randn(
            2,
            generator=torch.Generator().manual_seed(int(plain.weighting.draw) + len(plain.history)),
            dtype=torch.double,
        ).softmax(0)
        * losses
    ).sum(),
    GLS=lambda plain, losses: losses.prod().sqrt(),
)


# By hand: the steps of gradient weightings for two gradients (2, N)


def pcgrad(g: np.ndarray) -> np.ndarray:
    first, second = g
    product = first @ second
    return (
        first - product / (second @ second) * second + second - product / (first @ first) * first
    ) / 2


def cagrad(g: np.ndarray) -> np.ndarray:
    """By search on ever finer grids."""
    mean, low, high = g.mean(0), 0.0, 1.0
    for _ in range(12):
        grid = np.linspace(low, high, 101)[:, None]
        mixed = grid * g[0] + (1 - grid) * g[1]
        best = (mixed @ mean + 0.4 * np.linalg.norm(mean) * np.linalg.norm(mixed, axis=1)).argmin()
        low, high = grid[max(best - 1, 0), 0], grid[min(best + 1, 100), 0]
    return mean + 0.4 * np.linalg.norm(mean) * mixed[best] / np.linalg.norm(mixed[best])


def mgda(g: np.ndarray) -> np.ndarray:
    first, second = g
    share = np.clip((second - first) @ second / ((first - second) @ (first - second)), 0, 1)
    return share * first + (1 - share) * second


def nash(g: np.ndarray) -> np.ndarray:
    """Unit vectors weigh 1 / sqrt(1 + cosine)."""
    lengths = np.linalg.norm(g, axis=1)
    b = (1 + g[0] @ g[1] / lengths.prod()) ** -0.5
    return np.sqrt(np.linalg.norm(g @ g.T)) * b * (g / lengths[:, None]).sum(0) / 2


STEPS = dict(PCGrad=pcgrad, CAGrad=cagrad, MGDA=mgda, NashMTL=nash)


class Plain:
    """SGD on a toy by hand; ``batches`` of a step are accumulated, ``clip`` is the largest norm of
    a step's gradient."""

    def __init__(self, name: str) -> None:
        self.name, self.model, self.history = name, Toy(name), []
        self.weighting = self.model.weighting
        self.log_variances = getattr(self.weighting, 'log_variances', None)
        self.parameters = {
            key: value for key, value in self.model.named_parameters() if value.requires_grad
        }

    def losses(self, batch: Batch) -> Tensor:
        values = self.model.task_losses(batch, list(TASKS))
        return torch.stack(
            [values[f'{name}.loss'] * weight / 2 for name, weight in TASKS.items()]
        )  # the weights' mean is 2

    def objective(self, batch: Batch) -> Tensor:
        losses = self.losses(batch)
        total = OBJECTIVES[self.name](self, losses)
        self.history.append(losses.detach())
        return total

    def surrogate(self, batch: Batch) -> Tensor:
        """Has the gradient that a gradient weighting should make."""
        losses, shared, heads = (
            self.losses(batch),
            list(self.model.shared.parameters()),
            list(self.model.heads.parameters()),
        )
        g = np.stack(
            [
                np.concatenate(
                    [
                        value.flatten()
                        for value in torch.autograd.grad(loss, shared, retain_graph=True)
                    ]
                )
                for loss in losses
            ]
        )
        assert g[0] @ g[1] < 0, 'the tasks have to conflict for a test'
        own = torch.autograd.grad(losses.mean(), heads)
        return torch.cat([value.flatten() for value in shared]) @ torch.from_numpy(
            STEPS[self.name](g)
        ) + sum((value * slope).sum() for value, slope in zip(heads, own, strict=True))

    def step(self, *batches: Batch, clip: float = float('inf'), lr: float = 0.1) -> None:
        if self.name in STEPS:
            total = self.surrogate(joined(batches))
        else:
            total = sum(self.objective(batch) for batch in batches) / len(batches)
        total = total + self.model.aux_losses()['loss_aux']
        gradients = torch.autograd.grad(total, list(self.parameters.values()))
        norm = torch.cat([value.flatten() for value in gradients]).norm()
        for parameter, slope in zip(self.parameters.values(), gradients, strict=True):
            parameter.data -= lr * slope * min(1, clip / (norm + 1e-6))


def sgd(model: nn.Module, wrapper: type[OptimWrapper] = OptimWrapper, **options) -> OptimWrapper:
    return wrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **options)


def assert_same(model: nn.Module, other: nn.Module, tolerance: float = 1e-9) -> None:
    """Nash-MTL's 1e-8 beside the cosines is seen."""
    tolerance = 3e-6 if type(model.weighting).__name__ == 'NashMTL' else tolerance
    for (key, value), expected in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(value, expected, rtol=0, atol=tolerance), key


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_equals_training_by_hand(name, one_by_one):
    model, plain = Toy(name, one_by_one), Plain(name)
    wrapper = sgd(model)
    for batch in make_batches(6):
        expected = plain.model.task_losses(batch, ['a', 'b'])
        plain.step(batch)
        log = model.train_step(batch, wrapper)
        assert set(log) == {'loss', 'a.loss', 'b.loss', 'loss_aux', 'norm', 'a.weight', 'b.weight'}
        assert next(iter(log)) == 'loss'
        assert all(
            log[key].item() == pytest.approx(value.item(), abs=1e-5)
            for key, value in expected.items()
        )
    assert_same(model, plain.model)
    assert not any(value.requires_grad for value in log.values())


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_the_log_has_weights_and_total(name, one_by_one):
    model, batch = Toy(name, one_by_one), make_batches(1)[0]
    log = model.train_step(batch, sgd(model))
    weights = [log['a.weight'].item(), log['b.weight'].item()]
    total = log['loss_aux'] + (
        log['a.loss'] * weights[0] + log['b.loss'] * weights[1]
        if name in OBJECTIVES
        else log['a.loss'] * 0.25 + log['b.loss'] * 0.75
    )
    assert log['loss'].item() == pytest.approx(total.item())
    assert (weights == [0.25, 0.75]) == (name in ('Fixed', 'DWA', 'Uncertainty')), (
        'two of these begin like Fixed'
    )


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'Fixed'])
def test_none_is_like_another(name):
    """So that the tests above can tell them apart."""
    models = [Toy(name), Toy('Fixed')]
    for model in models:
        wrapper = sgd(model)
        for batch in make_batches(6):
            model.train_step(batch, wrapper)
    assert (models[0].shared.weight - models[1].shared.weight).abs().max() > 1e-3


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_accumulated_iterations(name, one_by_one):
    """Of loss weightings, the mean of the iterations' steps; of gradient weightings, a step with
    the joint batch."""
    model, plain = Toy(name, one_by_one), Plain(name)
    wrapper, batches = (
        sgd(model, accumulative_counts=2, clip_grad=dict(max_norm=0.5)),
        make_batches(8),
    )
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        plain.step(first, second, clip=0.5)
        before = model.shared.weight.clone()
        model.train_step(first, wrapper)
        assert model.shared.weight.equal(before)
        model.train_step(second, wrapper)
    assert_same(model, plain.model)


@pytest.fixture
def loss_scaling(monkeypatch) -> type[AmpOptimWrapper]:
    """MMEngine's, which wants a GPU, with the loss scaler of CPUs."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, device='cpu')
    )
    return partial(AmpOptimWrapper, dtype='bfloat16', loss_scale=dict(init_scale=1024.0))


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_loss_scaling(name, one_by_one, loss_scaling):
    """Cancels out. A step with an overflow is left out and halves the scale, also when others are
    accumulated with it."""
    model, plain = Toy(name, one_by_one), Plain(name)
    wrapper, batches = (
        sgd(model, loss_scaling, accumulative_counts=2, clip_grad=dict(max_norm=0.5)),
        make_batches(8),
    )
    for number, (first, second) in enumerate(zip(batches[::2], batches[1::2], strict=True)):
        if number != 1:
            plain.step(first, second, clip=0.5)
            model.train_step(first, wrapper)
            model.train_step(second, wrapper)
        elif name not in ('DWA', 'RLW'):  # their state goes on
            before = model.shared.weight.clone()
            model.train_step({**first, 'a': torch.full_like(first['a'], 1.7e308)}, wrapper)
            model.train_step(second, wrapper)
            assert model.shared.weight.equal(before)
            assert wrapper.loss_scaler.get_scale() == 512
    assert_same(model, plain.model)


def train_guarded(model: nn.Module, batches: list[Batch]) -> None:
    """Steps of two iterations each."""
    wrapper = sgd(model, accumulative_counts=2, clip_grad=dict(max_norm=0.5))
    guard = StepGuard(wrapper, model)
    for batch in batches:
        guard.before_iteration()
        model.train_step(batch, wrapper)


@pytest.mark.parametrize('fault', ['x', 'loss'])
@pytest.mark.parametrize('name, one_by_one', CASES)
def test_a_step_that_is_left_out(name, one_by_one, fault):
    """Leaves no trace in parameters and weightings, also of the iteration that was accumulated with
    it. The second fault is a loss of infinity, whose gradient need not be."""
    model, other, batches = Toy(name, one_by_one), Toy(name, one_by_one), make_batches(8)
    broken = (
        dict(batches[2], x=batches[2]['x'] * torch.nan)
        if fault == 'x'
        else dict(batches[2], a=batches[2]['a'] * 1e300)
    )
    train_guarded(model, [*batches[:2], broken, *batches[3:]])
    train_guarded(other, [*batches[:2], *batches[4:]])
    for (key, value), expected in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert value.equal(expected), key


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_mixed_precision(name, one_by_one):
    """The forward pass is in bfloat16 and steps differ by its rounding only, jointly or one by
    one."""
    model, exact = Toy(name, one_by_one).float(), Toy(name).float()
    seen = []
    model.heads.b.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    batch = {key: value.float() for key, value in make_batches(1)[0].items()}
    start = model.shared.weight.detach().clone()
    model.train_step(batch, sgd(model, AutocastOptimWrapper))
    exact.train_step(batch, sgd(exact))
    assert seen == [torch.bfloat16]
    update, expected = model.shared.weight - start, exact.shared.weight - start
    assert model.shared.weight.dtype == torch.float32
    assert 0 < (update - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize('name', ['Fixed', 'MGDA'])
def test_one_by_one_keeps_one_graph(name, monkeypatch):
    """What the first task saved for its backward pass is gone when the second task's forward pass
    begins."""

    class Kept:
        def __init__(self, value: Tensor) -> None:
            self.value = value

    saved, alive = weakref.WeakSet(), []

    def pack(value: Tensor) -> Kept:
        saved.add(kept := Kept(value))
        return kept

    def task_losses(
        self, batch: Batch, names: list[str], original=Toy.task_losses
    ) -> dict[str, Tensor]:
        alive.append(len(saved))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
            return original(self, batch, names)

    monkeypatch.setattr(Toy, 'task_losses', task_losses)
    model = Toy(name, one_by_one=True)
    model.train_step(make_batches(1)[0], sgd(model))
    assert alive == [0, 0]


def test_auxiliary_losses_of_the_forward_pass_and_of_the_tasks():
    def run(losses):
        model = Toy('Fixed')
        total, log = model.weighting(
            {key: value(model) for key, value in losses.items()}, model.parameters()
        )
        total.backward()
        return model.shared.weight.grad, log['loss'].item()

    batch = make_batches(1)[0]

    def task(model, name):
        return model.task_losses(batch, [name])[f'{name}.loss']

    def square(model):
        return model.aux_losses()['loss_aux']

    slope, total = run(
        {
            'a.loss': lambda model: task(model, 'a'),
            'b.loss': lambda model: task(model, 'b'),
            'loss_early': square,
            'loss_late': square,
        }
    )
    expected, expected_total = run(
        {
            'loss_early': square,
            'a.loss': lambda model: model.weighting.later(
                'cpu', lambda: {'a.loss': task(model, 'a')}
            ),
            'b.loss': lambda model: model.weighting.later(
                'cpu', lambda: {'b.loss': task(model, 'b'), 'loss_late': square(model)}
            ),
        }
    )
    assert torch.allclose(slope, expected) and total == pytest.approx(expected_total)


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_a_task_without_labels_takes_no_part(name, one_by_one):
    """The other goes its own way, as if alone, at its share: a half, or of the geometric mean
    all."""
    model, batch = Toy(name, one_by_one), make_batches(1)[0]
    model.train_step({**batch, 'b': torch.full_like(batch['b'], float('nan'))}, sgd(model))
    start = Toy(name)
    share = dict(GLS=1, RLW=start.weighting.weights(None)[0] if name == 'RLW' else 0).get(name, 0.5)
    total = 0.5 * share * start.task_losses(batch, ['a'])['a.loss'] + start.aux_losses()['loss_aux']
    total.backward()
    for (key, value), before in zip(model.named_parameters(), start.parameters(), strict=True):
        if 'log_variances' not in key:
            assert torch.allclose(
                value, before - 0.1 * (0 if before.grad is None else before.grad)
            ), key
    if name == 'Uncertainty':
        assert model.weighting.log_variances[0] != 0 == model.weighting.log_variances[1]


@pytest.mark.parametrize('name, one_by_one', CASES)
def test_one_task(name, one_by_one):
    """Whatever its weight, it is trained alone, and the first step is the plain one."""
    model, start, batch = (
        Toy(name, one_by_one, dict(a=5.0)),
        Toy('Fixed', tasks=dict(a=1.0)),
        make_batches(1)[0],
    )
    model.train_step(batch, sgd(model))
    sum([*start.task_losses(batch, ['a']).values(), *start.aux_losses().values()]).backward()
    for (key, value), before in zip(model.named_parameters(), start.parameters(), strict=False):
        assert torch.allclose(value, before - 0.1 * (0 if before.grad is None else before.grad)), (
            key
        )


def test_only_gls_has_to_run_jointly():
    with pytest.raises(ValueError, match='GLS needs all losses .* Run them jointly'):
        Toy('GLS', one_by_one=True).train_step(make_batches(1)[0], sgd(nn.Linear(1, 1)))


@pytest.mark.parametrize('name', NAMES)
def test_a_missing_loss_is_named(name):
    model = Toy(name)
    with pytest.raises(ValueError, match=r'Got the losses a\.loss, loss_aux; expected b\.loss too'):
        model.weighting(
            {**model.task_losses(make_batches(1)[0], ['a']), **model.aux_losses()},
            model.parameters(),
        )


# A runner

STATE = dict(
    Uncertainty={'log_variances'},
    DWA={'iterations', 'totals', 'means'},
    RLW={'draw'},
    PCGrad={'draw'},
)


class Batches(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> Batch:
        return make_batches(6, size=1)[number]


def run(
    name: str, folder: Path, epochs: int, resume: bool = False, wrapper: dict | None = None
) -> Toy:
    runner = Runner(
        Toy(name),
        str(folder),
        experiment_name=f'weighting_{next(NUMBERS)}',
        resume=resume,
        log_level='ERROR',
        default_scope='mmsam_peft',
        train_dataloader=dict(
            batch_size=1,
            dataset=Batches(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=lambda items: joined(items),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        custom_hooks=[PlainCheckpointHook()],
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.01), accumulative_counts=2, **(wrapper or {})
        ),
    )
    return runner.train()


@pytest.mark.parametrize('name', NAMES)
def test_a_resumed_run_goes_on_where_it_was(name, tmp_path):
    whole = run(name, tmp_path / 'whole', 3)
    run(name, tmp_path / 'parts', 1)
    parts = run(name, tmp_path / 'parts', 3, resume=True)
    state = torch.load(tmp_path / 'parts' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert {
        key.removeprefix('weighting.') for key in state if key.startswith('weighting.')
    } == STATE.get(name, set())
    for (key, value), expected in zip(
        parts.state_dict().items(), whole.state_dict().values(), strict=True
    ):
        assert value.equal(expected), key
    changed = {
        key
        for key, value in Toy(name).state_dict().items()
        if not value.equal(whole.state_dict()[key])
    }
    assert {key for key in whole.state_dict() if not key.startswith('frozen')} - changed <= {
        'weighting.totals'
    }


# Two processes


def train(model: nn.Module, part: slice) -> None:
    """Three steps of two iterations each with a part of the batches."""
    wrapper = sgd(model, accumulative_counts=2, clip_grad=dict(max_norm=0.5))
    for batch in make_batches(6):
        model.train_step({key: value[part] for key, value in batch.items()}, wrapper)


def worker(rank: int, folder: Path) -> None:
    for name, one_by_one in CASES:
        model = Toy(name, one_by_one)
        train(MMDistributedDataParallel(model), slice(2 * rank, 2 * rank + 2))
        guarded, batches = Toy(name, one_by_one), make_batches(6)
        if rank == 1:
            batches[2]['x'][-1, 0] = torch.nan
        train_guarded(
            MMDistributedDataParallel(guarded),
            [
                {key: value[2 * rank : 2 * rank + 2] for key, value in batch.items()}
                for batch in batches
            ],
        )
        torch.save(
            [model.state_dict(), guarded.state_dict()], folder / f'{name}_{one_by_one}_{rank}.pth'
        )


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> dict[tuple[str, bool], list[list[dict[str, Tensor]]]]:
    """By case, the two processes' states: trained, and trained with a batch of NaN in the second
    process."""
    folder = tmp_path_factory.mktemp('parallel')
    run_in_two_processes(__file__, folder)
    return {
        case: [torch.load(folder / f'{case[0]}_{case[1]}_{rank}.pth') for rank in (0, 1)]
        for case in CASES
    }


@pytest.mark.parametrize('case', CASES)
def test_two_processes_equal_one_with_the_joint_batch(trained, case):
    model = Toy(*case)
    train(model, slice(None))
    (first, _), (second, _) = trained[case]
    for key, value in model.state_dict().items():
        assert first[key].equal(second[key]), key
        assert torch.allclose(
            first[key], value, rtol=0, atol=1e-6 if case[0] == 'NashMTL' else 1e-9
        ), key


@pytest.mark.parametrize('case', CASES)
def test_two_processes_leave_out_the_same_step(trained, case):
    model, batches = Toy(*case), make_batches(6)
    train_guarded(model, batches[:2] + batches[4:])
    (_, first), (_, second) = trained[case]
    for key, value in model.state_dict().items():
        assert first[key].equal(second[key]), key
        assert torch.allclose(
            first[key], value, rtol=0, atol=1e-6 if case[0] == 'NashMTL' else 1e-9
        ), key
