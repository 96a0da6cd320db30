"""A LoRA for each task, after Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR
2022; with a shared one beside them, after Agiza et al., "MTLoRA: A Low-Rank Adaptation Approach for
Efficient Multi-Task Learning", CVPR 2024."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..registry import PEFT
from .per_task import PerTaskLinear, PerTaskMethod
from .placement import Blocks
from .qkv import QKVParts, count_rows, scatter_qkv_rows


class TaskLoRALinear(PerTaskLinear):
    """A frozen linear layer with a trained low-rank update for each task, and one for all where
    ``shared_rank`` s > 0:

        y_t = W0 x + b + (alpha / r) * B_t A_t x + (alpha / s) * B' A' x

    A: (T, r, in), A': (s, in), Kaiming-uniform for each task; B: (T, out, r), B': (out, s), zero.
    With ``qkv_parts`` of a fused qkv, the rows of B and B' belong to these only.
    """

    def __init__(
        self,
        base: nn.Linear,
        num_tasks: int,
        rank: int,
        alpha: float,
        shared_rank: int,
        qkv_parts: QKVParts | None = None,
    ) -> None:
        super().__init__(base, num_tasks)
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        rows = count_rows(base.out_features, qkv_parts)
        self.rank, self.alpha, self.shared_rank, self.qkv_parts = (
            rank,
            alpha,
            shared_rank,
            qkv_parts,
        )
        self.lora_A = nn.Parameter(torch.empty(num_tasks, rank, base.in_features, **like))
        self.lora_B = nn.Parameter(torch.zeros(num_tasks, rows, rank, **like))
        for A in self.lora_A:
            nn.init.kaiming_uniform_(A, a=math.sqrt(5))
        if shared_rank:
            self.lora_shared_A = nn.Parameter(torch.empty(shared_rank, base.in_features, **like))
            self.lora_shared_B = nn.Parameter(torch.zeros(rows, shared_rank, **like))
            nn.init.kaiming_uniform_(self.lora_shared_A, a=math.sqrt(5))

    def update(self, x: Tensor, tasks: Sequence[int]) -> tuple[Tensor, Tensor]:
        A = torch.stack([self.down(task) for task in tasks])
        up = torch.stack([scatter_qkv_rows(self.up(task), self.qkv_parts) for task in tasks])
        return x @ A.mT, up

    def down(self, task: int) -> Tensor:
        """A_t, and A' below it: (r + s, in)."""
        return (
            torch.cat([self.lora_A[task], self.lora_shared_A])
            if self.shared_rank
            else self.lora_A[task]
        )

    def up(self, task: int) -> Tensor:
        """B_t, and B' beside it, scaled: (out, r + s)."""
        own = self.alpha / self.rank * self.lora_B[task]
        return (
            torch.cat([own, self.alpha / self.shared_rank * self.lora_shared_B], 1)
            if self.shared_rank
            else own
        )


@PEFT.register_module()
class TaskLoRA(PerTaskMethod):
    """A :class:`TaskLoRALinear` in place of every block's fused qkv; see :class:`PerTaskMethod` for
    how tasks are batched.

    Without a shared LoRA this is one LoRA per task, trained side by side (LoRA-STL): the same as T
    encoders with a LoRA each. With one it is the low-rank part of MTLoRA. Trains A and B. Merges
    fully, one task at a time.

    Args:
        num_tasks: T; a multi-task model sets it where its config does not.
        rank: r of each task's LoRA, at least 1.
        alpha: Numerator of the updates' scales.
        shared_rank: s of the LoRA that all tasks share; 0 for none.
        targets: Linear layers of a block, of 'qkv', 'q', 'k', 'v', 'proj', 'mlp'.
        blocks: 'all', 'first:N', 'last:N' or block numbers.

    Raises:
        ValueError: A rank or a number of tasks below 1, a shared rank below 0; targets or blocks
            that are not there.
    """

    def __init__(
        self,
        num_tasks: int = 1,
        rank: int = 32,
        alpha: float = 32,
        shared_rank: int = 0,
        targets: Sequence[str] = ('qkv',),
        blocks: Blocks = 'all',
    ) -> None:
        super().__init__(num_tasks, targets, blocks)
        if rank < 1 or shared_rank < 0:
            raise ValueError(
                f'rank={rank}, shared_rank={shared_rank}: rank is at least 1, shared_rank at least '
                '0; for '
                'a shared update alone use peft type LoRA.'
            )
        self.rank, self.alpha, self.shared_rank = rank, alpha, shared_rank

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> TaskLoRALinear:
        return TaskLoRALinear(
            base, self.num_tasks, self.rank, self.alpha, self.shared_rank, qkv_parts
        )
