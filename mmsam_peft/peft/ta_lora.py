"""TA-LoRA (Wang et al., "Task-Aware Low-Rank Adaptation of Segment Anything Model", 2024), in the
form of its successor (Wang et al., "MTSAM: Multi-Task Fine-Tuning for Segment Anything Model", ICLR
2025)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..registry import PEFT
from .per_task import PerTaskLinear, PerTaskMethod, per_task_layers
from .placement import Blocks, chosen_blocks, norm_parameters
from .qkv import QKVParts, count_rows, scatter_qkv_rows


def departure(U: Tensor) -> Tensor:
    """How far the columns of each (m, n) of (K, m, n) are from orthonormal, |U^T U - I|_F, (K,); in
    float32 at least."""
    with torch.autocast(U.device.type, enabled=False):
        U = U.to(torch.promote_types(U.dtype, torch.float32))
        return torch.linalg.matrix_norm(
            U.mT @ U - torch.eye(U.shape[-1], dtype=U.dtype, device=U.device)
        )


class TALoRALinear(PerTaskLinear):
    """The updates of all T tasks as one tensor in Tucker form, dW = G x1 U1 x2 U2 x3 U3:

        y_t = W0 x + b + s * U2 C_t^T U1^T dropout(x),   C_t = sum_v U3[t, v] G[:, :, v]

    G: (p, q, v), zero; U1: (in, p), U2: (out, q), U3: (T, v), standard normal. Only the rows of U3
    are the tasks' own. With ``qkv_parts`` of a fused qkv, the rows of U2 belong to these only.
    """

    def __init__(
        self,
        base: nn.Linear,
        num_tasks: int,
        ranks: Sequence[int],
        scale: float,
        dropout: float,
        qkv_parts: QKVParts | None = None,
    ) -> None:
        super().__init__(base, num_tasks, dropout)
        like = dict(device=base.weight.device, dtype=base.weight.dtype)
        rows = count_rows(base.out_features, qkv_parts)
        p, q, v = ranks
        self.scale, self.qkv_parts = scale, qkv_parts
        self.lora_G = nn.Parameter(torch.zeros(p, q, v, **like))
        self.lora_U1 = nn.Parameter(torch.randn(base.in_features, p, **like))
        self.lora_U2 = nn.Parameter(torch.randn(rows, q, **like))
        self.lora_U3 = nn.Parameter(torch.randn(num_tasks, v, **like))

    def orthonormalise(self) -> None:
        """U1 and U2 with orthonormal columns, in random directions."""
        for U in (self.lora_U1, self.lora_U2):
            U.data.copy_(nn.init.orthogonal_(torch.empty(U.shape, device=U.device)))

    def update(self, x: Tensor, tasks: Sequence[int]) -> tuple[Tensor, Tensor]:
        U3 = torch.stack([self.lora_U3[task] for task in tasks])
        cores = self.scale * torch.einsum('tv,pqv->tpq', U3, self.lora_G)
        return x @ self.lora_U1 @ cores, scatter_qkv_rows(self.lora_U2, self.qkv_parts).expand(
            len(tasks), -1, -1
        )

    def departures(self) -> Tensor:
        """Those of U1, U2 and each G[:, :, v], (2 + v,)."""
        return torch.cat(
            [
                departure(U)
                for U in (self.lora_U1[None], self.lora_U2[None], self.lora_G.permute(2, 0, 1))
            ]
        )


@PEFT.register_module()
class TALoRA(PerTaskMethod):
    """A :class:`TALoRALinear` in place of every block's fused qkv; see :class:`PerTaskMethod` for
    how tasks are batched.

    Trains the factors and the blocks' norms; ``loss_ortho`` keeps the factors near orthonormal: the
    mean of |U^T U - I|_F, not squared, over U1, U2 and the v slices of G of all layers. Merges
    fully, one task at a time: W0 + s U2 C_t^T U1^T.

    Args:
        num_tasks: T; a multi-task model sets it where its config does not.
        ranks: (p, q, v) of inputs, outputs and tasks.
        scale: s.
        dropout: Of what the update sees.
        ortho_weight: Weight of ``loss_ortho``; 0 computes none.
        train_norms: Train the norms of the chosen blocks too.
        orthonormal: Begin with U1 and U2 where ``loss_ortho`` wants them, instead of standard
            normal as the authors' program. There they are at first 10 to 20 times too long and
            every step on G is magnified accordingly, until the regulariser has shrunk them:
            thousands of steps. Short trainings need this.
        targets: Linear layers of a block, of 'qkv', 'q', 'k', 'v', 'proj', 'mlp'.
        blocks: 'all', 'first:N', 'last:N' or block numbers.

    Raises:
        ValueError: A rank or a number of tasks below 1, a dropout outside 0 to 1; targets or blocks
            that are not there.
    """

    def __init__(
        self,
        num_tasks: int = 1,
        ranks: Sequence[int] = (32, 32, 4),
        scale: float = 0.5,
        dropout: float = 0.1,
        ortho_weight: float = 1.0,
        train_norms: bool = True,
        orthonormal: bool = False,
        targets: Sequence[str] = ('qkv',),
        blocks: Blocks = 'all',
    ) -> None:
        super().__init__(num_tasks, targets, blocks)
        if len(ranks) != 3 or min(ranks) < 1:
            raise ValueError(
                f'ranks={tuple(ranks)}: use three, (p, q, v) of inputs, outputs and tasks, each at '
                'least 1.'
            )
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout={dropout}: use a probability from 0 to below 1.')
        self.ranks, self.scale, self.dropout = tuple(ranks), scale, dropout
        self.ortho_weight, self.train_norms, self.orthonormal = (
            ortho_weight,
            train_norms,
            orthonormal,
        )

    def make(self, base: nn.Linear, qkv_parts: QKVParts | None) -> TALoRALinear:
        layer = TALoRALinear(base, self.num_tasks, self.ranks, self.scale, self.dropout, qkv_parts)
        if self.orthonormal:
            layer.orthonormalise()
        return layer

    def inject(self, host: nn.Module) -> None:
        super().inject(host)
        chosen = chosen_blocks(host, self.blocks).values() if self.train_norms else ()
        inside = {id(parameter) for block in chosen for parameter in block.parameters()}
        norms = norm_parameters(host)
        self.norms = {
            name
            for name, parameter in host.named_parameters()
            if id(parameter) in inside and name in norms
        }

    def trains(self, name: str) -> bool:
        return super().trains(name) or name in self.norms

    def aux_losses(self, host: nn.Module) -> dict[str, Tensor]:
        if not self.ortho_weight:
            return {}
        departures = torch.cat([layer.departures() for layer in per_task_layers(host)])
        return {'loss_ortho': self.ortho_weight * departures.mean()}
