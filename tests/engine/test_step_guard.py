"""Steps that are left out, in every kind of optimizer wrapper, against the same training without
their batches."""

from functools import partial

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn

from mmsam_peft.engine import AutocastOptimWrapper
from mmsam_peft.engine.step_guard import StepGuard, total_norm


@pytest.fixture(params=['float32', 'bfloat16', 'scaled'])
def wrapper(request, monkeypatch):
    """The last is MMEngine's for float16, which wants a GPU, with the loss scaler of CPUs."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, device='cpu')
    )
    scaled = partial(AmpOptimWrapper, dtype='bfloat16', loss_scale=dict(init_scale=1024.0))
    return dict(float32=OptimWrapper, bfloat16=AutocastOptimWrapper, scaled=scaled)[request.param]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


class Overflow(torch.autograd.Function):
    """An infinite loss of a finite gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.abs() * torch.inf

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clone()


class Large(torch.autograd.Function):
    """A finite loss of a finite gradient, whose norm is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 1e36


LOSSES = dict(
    good=lambda y: y.square().mean(),
    nan=lambda y: y.mean() * torch.nan,
    large=lambda y: Large.apply(y).mean(),
    inf=lambda y: Overflow.apply(y).mean(),
)


def train(model: nn.Module, wrapper: OptimWrapper, losses: list[tuple[int, str]]) -> StepGuard:
    """An iteration for each (batch, kind of loss)."""
    batches = torch.randn(6, 16, 4, generator=torch.Generator().manual_seed(1))
    guard = StepGuard(wrapper, model)
    for number, kind in losses:
        guard.before_iteration()
        with wrapper.optim_context(model):
            y = model(batches[number] if kind != 'image' else batches[number] * torch.nan)
        wrapper.update_params(LOSSES.get(kind, LOSSES['good'])(y.float()))
    return guard


def state(model: nn.Module, wrapper: OptimWrapper) -> list[torch.Tensor]:
    moments = [
        value for one in wrapper.optimizer.state_dict()['state'].values() for value in one.values()
    ]
    return [value.clone() for value in (*model.state_dict().values(), *moments)]


@pytest.mark.parametrize('kind', ['image', 'nan', 'inf', 'large'])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_as_if_the_batches_had_not_been_there(wrapper, kind, clip):
    """Batch 2 has the fault, batch 3 was accumulated with it. Parameters, moments and batch
    statistics are the same."""
    states = []
    for losses in (
        [(0, ''), (1, ''), (2, kind), (3, ''), (4, ''), (5, '')],
        [(0, ''), (1, ''), (4, ''), (5, '')],
    ):
        model = net()
        made = wrapper(
            optimizer=torch.optim.Adam(model.parameters(), lr=0.1),
            accumulative_counts=2,
            clip_grad=clip,
        )
        guard = train(model, made, losses)
        assert guard.stepped and not guard.left_out
        states.append(state(model, made))
    assert all(map(torch.equal, *states))


def test_without_the_guard_one_batch_ruins_all():
    model = net()
    guard = train(model, made := OptimWrapper(torch.optim.Adam(model.parameters())), [])
    guard.remove()
    made.update_params(LOSSES['nan'](model(torch.ones(2, 4))))
    assert all(parameter.isnan().all() for parameter in model.parameters())


@pytest.mark.parametrize('wrapper', ['scaled'], indirect=True)
def test_loss_scaling_goes_on(wrapper):
    """An overflow lowers the scale and may do so as long as it is the scale's: not below 1, and not
    where it is fixed."""
    model = net()
    made = wrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    for expected in (512, 256):
        guard = train(model, made, [(0, 'large')])
        guard.remove()
        assert guard.left_out and guard.lowers_scale and made.loss_scaler.get_scale() == expected
    guard = train(model, made, [(0, 'good')])
    assert not guard.left_out and made.loss_scaler.get_scale() == 256
    guard.remove()
    guard = train(model, made, [(0, 'large')] * 9)
    assert guard.left_out and not guard.lowers_scale and made.loss_scaler.get_scale() == 0.5
    fixed = AmpOptimWrapper(loss_scale=4.0, optimizer=made.optimizer)
    assert not StepGuard(fixed, model).lowers_scale


def test_total_norm():
    assert (
        total_norm(
            [
                torch.tensor([3.0, 0.0]),
                torch.tensor([[4.0]]),
                torch.tensor(12.0, dtype=torch.double),
            ]
        ).item()
        == 13
    )
    assert total_norm([]).item() == 0
