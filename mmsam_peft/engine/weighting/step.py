"""What weightings are made of: losses that wait for the backward pass, and scalars whose gradient
is computed by a function."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.autograd.function import Function

Losses = Mapping[str, Tensor]
Gradients = dict[nn.Parameter, Tensor]


def later(device_type: str, function: Callable[[], Losses]) -> Callable[[], Losses]:
    """``function`` to be called in the backward pass, in the mixed precision of now.

    Does not go with ``find_unused_parameters`` of ``DistributedDataParallel``, which sees no use of
    any in the forward pass.
    """
    precision = dict(
        device_type=device_type,
        dtype=torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
    )

    def call() -> Losses:
        with torch.autocast(**precision):
            return function()

    return call


def computed(losses: Mapping[str, Tensor | Callable[[], Losses]]) -> Iterator[Losses]:
    """Groups of losses with a common graph: those that are there, then what was put off to
    ``later``, one after the other."""
    yield {key: loss for key, loss in losses.items() if not callable(loss)}
    for loss in losses.values():
        if callable(loss):
            yield loss()


def gradient(
    loss: Tensor, parameters: Sequence[nn.Parameter], scale: Tensor, again: bool
) -> Gradients:
    """Of ``scale * loss``, with respect to those of the parameters that it depends on; NaN if the
    loss is not finite. ``again``: its graph is needed again."""
    if not loss.requires_grad:
        return {}
    scale = torch.where(loss.isfinite(), scale.to(loss.dtype), torch.nan)
    found = torch.autograd.grad(loss, parameters, scale, retain_graph=again, allow_unused=True)
    return {
        parameter: value
        for parameter, value in zip(parameters, found, strict=True)
        if value is not None
    }


def add(total: Gradients, more: Gradients) -> None:
    for parameter, value in more.items():
        total[parameter] = total[parameter] + value if parameter in total else value


def average(values: Tensor) -> Tensor:
    """The mean over data-parallel processes."""
    values = values.clone()
    all_reduce(values, 'mean')
    return values


class _WithGradients(Function):
    @staticmethod
    def forward(
        ctx, gradients: Callable[[Tensor], Iterable[Tensor | None]], *parameters: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return torch.zeros((), device=parameters[0].device)

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            return None, *ctx.gradients(scale)


def with_gradients(
    gradients: Callable[[Tensor], Gradients], parameters: Sequence[nn.Parameter]
) -> Tensor:
    """A scalar (its value is 0) whose ``backward`` adds ``gradients(scale)`` to the parameters'
    ``.grad``.

    ``scale`` () is the gradient that arrives at the scalar: the loss scale over the number of
    accumulated iterations. As these are gradients of leaves like any others,
    ``DistributedDataParallel`` averages them over the processes.
    """
    return _WithGradients.apply(lambda scale: map(gradients(scale).get, parameters), *parameters)
