"""What methods have in common that adapt one frozen encoder to several tasks: computing all tasks
in one pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..layers.storage import unpacked
from ..layers.stored_linear import StoredLinear, stored_linear
from .anatomy import anatomy_of
from .base import Mergeable, PEFTMethod
from .placement import Blocks, chosen_blocks, specialise_in_place, target_linears
from .qkv import QKVParts

Made = TypeVar('Made')


class PerTaskLinear(Mergeable, StoredLinear):
    """A frozen linear layer with a trained low-rank update of its own for each task:

        y_t = W0 x_t + b + up_t z_t,   z_t = bottleneck of dropout(x_t)

    Inputs and outputs are (A * B, ..., C), task after task, of the A active tasks. The layer that
    ``branches`` gets what the tasks have in common, (B, ..., C): W0 x + b is computed once there,
    and one dropout mask serves all tasks. ``weight`` and ``bias`` are the base layer's own
    parameters.
    """

    branches = False
    merged_task = 0
    cell_by_cell = True

    def __init__(self, base: nn.Linear, num_tasks: int, dropout: float = 0.0) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device='meta')
        self.weight, self.bias = base.weight, base.bias
        self.tasks, self.dropout = tuple(range(num_tasks)), dropout

    def update(self, x: Tensor, tasks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Bottlenecks z (A, N, r) of the ``tasks`` for x (A or 1, N, in), and up (A, out, r)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return stored_linear(x, self.weight, self.bias)
        active = len(self.tasks)
        rows = x.reshape(1 if self.branches else active, -1, self.in_features)
        y = stored_linear(rows, self.weight, self.bias).expand(active, -1, -1).contiguous()
        y = torch.ops.aten._unsafe_view(
            y, y.shape
        )  # no view for autograd: an update of a view copies gradients as wide as y
        z, up = self.update(self.drop(rows), self.tasks)
        return y.baddbmm_(z.to(y.dtype), up.mT.to(y.dtype)).view(
            -1, *x.shape[1:-1], self.out_features
        )

    def drop(self, x: Tensor) -> Tensor:
        """Dropout as the update sees it; its mask is kept in a byte for a value, on a CPU too,
        where F.dropout takes four."""
        return (
            torch.native_dropout(x, self.dropout, True)[0] if self.training and self.dropout else x
        )

    def merge(self, task: int = 0) -> None:
        self.unmerge()
        self.merged_task = task
        super().merge()

    def merged_values(self) -> dict[str, Tensor]:
        weight = unpacked(self.weight)
        own = next(p for name, p in self.named_parameters() if name not in ('weight', 'bias'))
        unit = torch.eye(self.in_features, dtype=own.dtype, device=weight.device)
        z, up = self.update(unit[None], (self.merged_task,))
        return dict(weight=weight + up[0] @ z[0].T)


def per_task_layers(module: nn.Module) -> list[PerTaskLinear]:
    return [layer for layer in module.modules() if isinstance(layer, PerTaskLinear)]


@contextmanager
def selected(layers: Sequence[PerTaskLinear], tasks: tuple[int, ...]) -> Iterator[None]:
    """The layers with these tasks active, for a while."""
    before = layers[0].tasks
    for layer in layers:
        layer.tasks = tasks
    try:
        yield
    finally:
        for layer in layers:
            layer.tasks = before


def add_to_common(common: Tensor, per_task: Tensor) -> Tensor:
    """(B, ...) + (A * B, ...): what the tasks have in common, and their own added for each of them.
    For A = 1 a plain sum."""
    return (common + per_task.unflatten(0, (-1, common.shape[0]))).flatten(0, 1)


class Branching:
    """Mixin of a block with :class:`PerTaskLinear` layers, one of which may branch: (B, H, W, C) to
    (A * B, H, W, C)."""

    def add(self, x: Tensor, gain: Tensor) -> Tensor:
        return add_to_common(x, gain)

    def run(self, transform: Callable[..., Made], *inputs: Tensor | None) -> Made:
        """By the time of the backward pass, which may run ``transform`` again, other tasks may be
        active."""
        if self.checkpointing:
            transform = partial(self.run_for, per_task_layers(self)[0].tasks, transform)
        return super().run(transform, *inputs)

    def run_for(
        self, tasks: tuple[int, ...], transform: Callable[..., Made], *inputs: Tensor | None
    ) -> Made:
        with selected(per_task_layers(self), tasks):
            return transform(*inputs)


class PerTaskMethod(PEFTMethod):
    """A :class:`PerTaskLinear`, as ``make`` gives it, in place of every chosen layer of an encoder,
    which then returns for B images the maps (A * B, ...) of the A active tasks, task after task; at
    first all T are active.

    What precedes the first update is computed once: patches, position, the blocks before the first
    chosen one, and in this one all up to and with the frozen projection of its first chosen layer.
    Merges fully, one task at a time; a merged encoder returns B maps.

    Args:
        num_tasks: T, at least 1.
        targets: Linear layers of a block, of 'qkv', 'q', 'k', 'v', 'proj', 'mlp'.
        blocks: 'all', 'first:N', 'last:N' or block numbers.

    Raises:
        ValueError: No task; targets or blocks that are not there; ``out_indices`` before the first
            chosen block.
    """

    needs = frozenset({'branches'})
    merges = 'fully'

    def __init__(self, num_tasks: int, targets: Sequence[str], blocks: Blocks) -> None:
        if num_tasks < 1:
            raise ValueError(
                f'num_tasks={num_tasks}: at least 1, the number of tasks of the model.'
            )
        self.num_tasks, self.targets, self.blocks = num_tasks, targets, blocks

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> PerTaskLinear:
        raise NotImplementedError

    def inject(self, host: nn.Module) -> None:
        chosen, outputs = chosen_blocks(host, self.blocks), anatomy_of(host).outputs
        if min(outputs) < min(chosen):
            raise ValueError(
                f'out_indices={outputs}: the map after block {min(outputs)} is common to the '
                'tasks, whose updates '
                f'begin in block {min(chosen)}. Choose no map before it, or more blocks.'
            )
        targets = target_linears(host, self.targets, self.blocks)
        for block in chosen.values():
            specialise_in_place(block, Branching)
        for number, target in enumerate(targets):
            layer = self.make(target.linear, target.qkv_parts)
            layer.branches = number == 0
            setattr(target.parent, target.attribute, layer)

    def active(self, host: nn.Module) -> tuple[int, ...]:
        """The tasks whose maps the encoder returns, in their order: the selected ones, or the
        merged one."""
        layer = per_task_layers(host)[0]
        return (layer.merged_task,) if layer.merged else layer.tasks

    def select(self, host: nn.Module, tasks: Sequence[int] | None = None) -> None:
        """Makes these tasks active, in this order; None: all. A forward pass keeps its tasks
        through its backward pass.

        Raises:
            ValueError: Not some of the tasks, each once; a merged encoder is asked for another than
                its task.
        """
        chosen = tuple(range(self.num_tasks) if tasks is None else tasks)
        if (
            not chosen
            or len(set(chosen)) < len(chosen)
            or not set(chosen) <= set(range(self.num_tasks))
        ):
            raise ValueError(
                f'tasks={list(chosen)}: use some of 0 to {self.num_tasks - 1}, each once, or None '
                'for all.'
            )
        layers = per_task_layers(host)
        if layers[0].merged and tasks is not None and chosen != self.active(host):
            raise ValueError(
                f'tasks={list(chosen)}: the encoder is merged for task {layers[0].merged_task} '
                'alone. '
                'Unmerge it, or merge another task.'
            )
        for layer in layers:
            layer.tasks = chosen

    def merge(self, host: nn.Module, task: int | None = None) -> None:
        """Folds one task's update into the base weights, after taking out that of another, bit for
        bit.

        Args:
            task: May be left out where there is but one.

        Raises:
            ValueError: No such task.
        """
        task = 0 if task is None and self.num_tasks == 1 else task
        if task not in range(self.num_tasks):
            raise ValueError(
                f'task={task}: there are {self.num_tasks} tasks and one can be merged at a time: '
                'use one of 0 to '
                f'{self.num_tasks - 1}.'
            )
        for layer in per_task_layers(host):
            layer.merge(task)
