"""Steps of an optimizer that are left out when the loss or the gradient is not finite."""

import math
from collections.abc import Sequence

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


class StepGuard:
    """Takes the place of an optimizer wrapper's ``backward`` and ``step``, whatever kind it is.

    A step is left out when the norm of the whole gradient is not finite: parameters and optimizer
    stay as they are, what was accumulated is dropped, and the model's buffers (statistics of batch
    normalisation, states of weightings) become what they were before the step's first forward pass.
    A loss that is not finite makes a gradient that is not, so that the norm tells of both.
    Data-parallel processes have the same gradient, so that they decide alike.

    With loss scaling (``AmpOptimWrapper``) the scaler leaves such steps out itself and lowers its
    scale; that goes on.

    Each step costs a norm, one wait for the device, and a copy of the buffers.

    Attributes:
        norm: Of the gradient of the last step, times the loss scale where there is one.
        stepped: Whether this iteration came to a step, done or left out; others only accumulate.
        left_out: Whether the last step was.
    """

    def __init__(self, wrapper: OptimWrapper, model: nn.Module) -> None:
        self.wrapper, self.backward, self.step = wrapper, wrapper.backward, wrapper.step
        self.buffers = list(model.buffers())
        self.kept = [buffer.clone() for buffer in self.buffers]
        self.norm, self.stepped, self.left_out = 0.0, True, False
        wrapper.backward, wrapper.step = self._backward, self._step

    def remove(self) -> None:
        del self.wrapper.backward, self.wrapper.step

    def before_iteration(self) -> None:
        if self.stepped:
            _copy(self.buffers, self.kept)
        self.stepped = False

    @property
    def lowers_scale(self) -> bool:
        """Whether an overflow is answered by a lower loss scale. Not below 1: there the gradient
        itself is too large."""
        adjusts = self._scales and self.wrapper._scale_update_param is None
        return adjusts and self.wrapper.loss_scaler.get_scale() >= 1

    @property
    def _scales(self) -> bool:
        return hasattr(self.wrapper, 'loss_scaler') and self.wrapper.loss_scaler.is_enabled()

    def _backward(self, loss: Tensor, **kwargs) -> None:
        one_if_finite = torch.where(loss.detach().isfinite(), 1.0, torch.nan)
        self.backward(loss * one_if_finite.to(loss.dtype), **kwargs)

    def _step(self, **kwargs) -> None:
        gradients = [
            parameter.grad
            for group in self.wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        self.norm = total_norm(gradients).item()
        self.stepped, self.left_out = True, not math.isfinite(self.norm)
        if self.left_out and self._scales:
            gradients[0].fill_(torch.nan)  # the scaler sees no norm that overflows, only numbers
        if not self.left_out or self._scales:
            self.step(**kwargs)
        if self.left_out:
            _copy(self.kept, self.buffers)

    # MMEngine's schedulers, also those that a resumed training builds later, put a counter around
    # ``step`` unless it has one; the step in here has.
    _step._with_counter = True


@torch.no_grad()
def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together, (), as ``torch.nn.utils.clip_grad_norm_`` has it."""
    norms = torch._foreach_norm(gradients) if gradients else [torch.zeros(())]
    return torch.stack([norm.to(norms[0]) for norm in norms]).norm()


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)
