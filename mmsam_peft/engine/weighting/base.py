"""How the losses of several tasks, or their gradients, become one training step.

The model calls a weighting in place of MMEngine's ``parse_losses``. So it works with every
optimizer wrapper (mixed precision, loss scaling, clipping, accumulation) and with
``MMDistributedDataParallel`` as they are: to them a step is a scalar with a gradient, and what the
scalar's ``backward`` does is the weighting's affair.

The road of ``one_by_one``, where one task's graph is in memory at a time::

    model.loss         TASK.loss = later(...) for each task: nothing is computed yet
    Weighting.forward  -> LossWeighting.step -> with_gradients(f): a scalar for the optimizer
    scalar.backward    -> f(scale) = LossWeighting.one_by_one, inside the backward pass:
    for each task          Weighting.parts calls its ``later``; gradient(weight_t L_t) is added up
    afterwards             the sums go into the parameters' .grad, where DDP averages them

Every weighting is on the scale of ``Fixed``, a mean over the tasks. Where a paper has a sum over T
tasks, it is T times that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .step import Gradients, Losses, add, average, computed, gradient, later, with_gradients

Log = dict[str, Tensor | None]
"""What is logged; None for the total as long as it is not known."""


class Weighting(nn.Module):
    """Losses to a scalar. State is kept in parameters and buffers, equal in all processes.

    Args:
        tasks: The tasks' names and weights w_t. Whatever the weighting, the task's loss enters it
            as L_t w_t / mean(w).
    """

    later = staticmethod(later)
    can_run_one_by_one = True
    """Whether the tasks may run one after the other: no weight needs the losses of all."""

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__()
        mean = sum(tasks.values()) / len(tasks)
        self.scales = {name: weight / mean for name, weight in tasks.items()}

    def forward(
        self,
        losses: Mapping[str, Tensor | Callable[[], Losses]],
        parameters: Iterable[nn.Parameter],
    ) -> tuple[Tensor, Log]:
        """
        Args:
            losses: ``<task>.loss`` for each task, unweighted. Others with 'loss' in their name are
                auxiliary: they are added as they are. The rest is only logged. To run the tasks one
                after the other, give ``later(...)`` as ``<task>.loss``, which returns that loss and
                maybe others; an auxiliary one that comes with several tasks counts once.
            parameters: The model's; those that require gradients are trained.

        Returns:
            What the optimizer wrapper is to differentiate, and what to log: the losses,
            ``<task>.weight``, by which the loss (or its gradient) was multiplied, and the total,
            ``loss``. What is not known yet is added to it in the backward pass.

        Raises:
            ValueError: A task has no loss.
        """
        missing = [f'{name}.loss' for name in self.scales if f'{name}.loss' not in losses]
        if missing:
            raise ValueError(
                f'Got the losses {", ".join(losses)}; expected {", ".join(missing)} too, one for '
                'each task.'
            )
        log: Log = {'loss': None}
        return self.step(
            losses, [parameter for parameter in parameters if parameter.requires_grad], log
        ), log

    def require_one_by_one(self) -> None:
        """Raises ValueError if the tasks cannot run one after the other."""
        if not self.can_run_one_by_one:
            raise ValueError(
                f'{type(self).__name__} needs all losses to weight one, so the tasks cannot run '
                'one after the '
                'other. Run them jointly, or use another weighting.'
            )

    def step(self, losses: Mapping, parameters: Sequence[nn.Parameter], log: Log) -> Tensor:
        raise NotImplementedError

    def parts(self, losses: Mapping, log: Log) -> Iterator[tuple[str | None, Tensor, bool]]:
        """What to differentiate, one after the other: task (None: auxiliary losses), loss, is its
        graph needed again."""
        for values in computed(losses):
            values = {key: value.mean() for key, value in values.items() if key not in log}
            log.update({key: value.detach() for key, value in values.items()})
            tasks = [
                (name, values.pop(f'{name}.loss') * scale)
                for name, scale in self.scales.items()
                if f'{name}.loss' in values
            ]
            auxiliary = [value for key, value in values.items() if 'loss' in key]
            parts = [(None, sum(auxiliary)), *tasks] if auxiliary else tasks  # the last frees most
            for number, (name, loss) in enumerate(parts, 1):
                yield name, loss, number < len(parts)

    def finish(self, log: Log, total: Tensor, weights: Tensor) -> None:
        log['loss'] = total.detach()
        log.update(
            {
                f'{name}.weight': weight * scale
                for (name, scale), weight in zip(self.scales.items(), weights.detach(), strict=True)
            }
        )


class LossWeighting(Weighting):
    """Minimises the sum of weight_t L_t. With accumulated gradients, each iteration has its own
    weights."""

    def weights(self, losses: Tensor | None) -> Tensor:
        """(T,), from the losses (T,) of this process, without their graph; None while the tasks run
        one after the other."""
        raise NotImplementedError

    def terms(self, weights: Tensor, losses: Tensor) -> Tensor:
        """What is summed up, element by element."""
        return weights * losses

    def observe(self, losses: Tensor) -> None:
        """Sees the losses (T,) of this process when the iteration's weights are no longer
        needed."""

    def step(self, losses: Mapping, parameters: Sequence[nn.Parameter], log: Log) -> Tensor:
        if any(map(callable, losses.values())):
            self.require_one_by_one()
            return with_gradients(
                lambda scale: self.one_by_one(losses, parameters, log, scale), parameters
            )
        parts = {name: loss for name, loss, _ in self.parts(losses, log)}
        auxiliary = parts.pop(None, 0)
        values = torch.stack(list(parts.values()))
        weights = self.weights(values.detach()).to(values)
        total = self.terms(weights, values).sum() + auxiliary
        self.finish(log, total, weights)
        self.observe(values.detach())
        return total

    def one_by_one(
        self,
        losses: Mapping,
        parameters: Sequence[nn.Parameter],
        log: Log,
        scale: Tensor,
    ) -> Gradients:
        """The gradient of the joint step, with one task's graph at a time."""
        gradients, values, total = {}, {}, 0
        for name, loss, again in self.parts(losses, log):
            if name is not None:
                values[name] = loss.detach()
                weights = self.weights(None).to(loss)
                loss = self.terms(weights[list(self.scales).index(name)], loss)
            add(gradients, gradient(loss, parameters, scale, again))
            total = total + loss.detach()
        self.finish(log, total, weights)
        self.observe(torch.stack([values[name] for name in self.scales]))
        return gradients


class GradientWeighting(Weighting):
    """The gradient with respect to parameters that several tasks share becomes sum_t weight_t g_t,
    with weights from the products of the tasks' gradients g_t. All other gradients are those of
    ``Fixed``: what only one task uses has g_t / T, and auxiliary losses are added as they are.

    Takes one backward pass for each task and T times the room of what is shared and trained, which
    is little.

    Processes average the tasks' gradients before these are weighted. Accumulated iterations are
    summed up before, too: from where the parameters have no gradient (``zero_grad()``) on. So both
    equal one process and one step with the joint batch.

    A task with a zero gradient, as one without labels has, takes no part, and the step is the
    others' times their share of the tasks. A parameter that holds something for each task, as rows,
    counts as shared.
    """

    def __init__(self, tasks: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.accumulated = None  # the tasks' gradients (T, N) and the weighted one (N,)

    def weights(self, gram: np.ndarray) -> np.ndarray:
        """(n,), from the products g_s . g_t (n, n) of 2 to T non-zero gradients, on a scale on
        which the longest has length 1.

        It has to give the same in all processes.
        """
        raise NotImplementedError

    def step(self, losses: Mapping, parameters: Sequence[nn.Parameter], log: Log) -> Tensor:
        parts = self.parts(losses, log)
        return with_gradients(
            lambda scale: self.weighted(parts, parameters, log, scale), parameters
        )

    def weighted(
        self,
        parts: Iterator,
        parameters: Sequence[nn.Parameter],
        log: Log,
        scale: Tensor,
    ) -> Gradients:
        gradients, tasks, total = {}, {}, 0
        for name, loss, again in parts:
            found = gradient(loss, parameters, scale, again)
            if name is None:
                add(gradients, found)
                total = total + loss.detach()
            else:
                tasks[name] = found
                total = total + loss.detach() / len(self.scales)
        reached = Counter(parameter for found in tasks.values() for parameter in found)
        for found in tasks.values():
            add(
                gradients,
                {
                    parameter: value / len(tasks)
                    for parameter, value in found.items()
                    if reached[parameter] == 1
                },
            )
        shared = [parameter for parameter in parameters if reached[parameter] > 1]
        weights = torch.full((len(tasks),), 1 / len(tasks))
        if shared:
            combined, weights = self.combined([tasks[name] for name in self.scales], shared)
            add(gradients, combined)
        self.finish(log, total, weights)
        return gradients

    def combined(
        self, tasks: Sequence[Gradients], shared: Sequence[nn.Parameter]
    ) -> tuple[Gradients, Tensor]:
        """What this iteration adds to the gradients of those that it is accumulated with, and the
        weights (T,)."""
        flat = average(
            torch.stack(
                [
                    torch.cat(
                        [
                            found.get(parameter, torch.zeros_like(parameter)).flatten()
                            for parameter in shared
                        ]
                    )
                    for found in tasks
                ]
            )
        )
        before = torch.zeros_like(flat[0])
        if self.accumulated and any(parameter.grad is not None for parameter in shared):
            flat, before = flat + self.accumulated[0], self.accumulated[1]
        weights = self.present_weights(flat)
        now = sum(weight * row for weight, row in zip(weights.tolist(), flat, strict=True))
        self.accumulated = flat, now
        pieces = (now - before).split([parameter.numel() for parameter in shared])
        return {
            parameter: piece.view_as(parameter).to(parameter.dtype)
            for parameter, piece in zip(shared, pieces, strict=True)
        }, torch.from_numpy(weights)

    def present_weights(self, flat: Tensor) -> np.ndarray:
        """(T, N) to (T,)."""
        double = (piece.double() for piece in flat.split(2**20, dim=1))
        gram = sum(piece @ piece.T for piece in double).cpu().numpy()
        if not np.isfinite(gram).all():  # such a step is left out, see StepGuard
            return np.full(len(flat), 1 / len(flat))
        present = gram.diagonal() > 0
        weights = present / len(flat)
        if present.sum() > 1:
            weights[present] = (
                self.weights(gram[np.ix_(present, present)] / gram.max()) * present.mean()
            )
        return weights
