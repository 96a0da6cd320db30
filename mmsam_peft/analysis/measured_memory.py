"""What a real training step takes of memory, beside what was counted."""

import torch
from mmengine.config import Config
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from .training_step import TrainingStep, build


def allocated_peak(cfg: Config, batch: int) -> int:
    """The most bytes that PyTorch's allocator has given out at a time in a step of a config on the
    CPU, the optimizer's state among them. Weights are random."""
    torch.manual_seed(0)
    step = TrainingStep(build(cfg), cfg, batch)
    fill_state(step)
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _held(step)}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        step()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == '[memory]']
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return sum(held.values()) + most


def fill_state(step: TrainingStep) -> None:
    """Lets the optimizer make its state, without the cost of a step."""
    for parameter in step.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    step.optimizer.step()
    step.optimizer.zero_grad()


def _held(step: TrainingStep) -> list[Tensor]:
    states = step.optimizer.state.values()
    state = [x for values in states for x in values.values() if isinstance(x, Tensor)]
    return [*step.model.parameters(), *step.model.buffers(), *step.tensors(), *state]
