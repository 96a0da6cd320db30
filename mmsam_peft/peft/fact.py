"""FacT (Jie and Deng, "FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer", AAAI
2023)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.storage import unpacked
from ..layers.stored_linear import StoredLinear, stored_linear
from ..registry import PEFT
from .base import Mergeable, PEFTMethod
from .placement import Blocks, target_linears
from .qkv import QKVParts, count_rows, from_thirds, scatter_qkv_rows


class TensorTrain(nn.Module):
    """The factors of all pieces' updates, FacT-TT: U, V (C, r), common to all, and a core Sigma_i
    (r, r) of each piece.

    As in the authors' program V is zero at first, and so is every update; U and the cores are
    uniform, +-C^-1/2 and +-r^-1/2.
    """

    def __init__(self, width: int, pieces: int, rank: int, like: dict) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(width, rank, **like))
        self.V = nn.Parameter(torch.zeros(width, rank, **like))
        nn.init.uniform_(self.U, -(width**-0.5), width**-0.5)
        self.add_cores(pieces, rank, like)

    def add_cores(self, pieces: int, rank: int, like: dict) -> None:
        self.Sigma = nn.Parameter(torch.empty(pieces, rank, rank, **like))
        nn.init.uniform_(self.Sigma, -(rank**-0.5), rank**-0.5)

    def cores(self, pieces: slice) -> Tensor:
        """(pieces, r, r)"""
        return self.Sigma[pieces]


class Tucker(TensorTrain):
    """FacT-TK: the cores are mixtures of r common ones, Sigma_i = sum_k P[i, k] G[k].

    G: (r, r, r), P: (pieces, r), both Xavier-uniform at first.
    """

    def add_cores(self, pieces: int, rank: int, like: dict) -> None:
        self.G = nn.Parameter(torch.empty(rank, rank, rank, **like))
        self.P = nn.Parameter(torch.empty(pieces, rank, **like))
        nn.init.xavier_uniform_(self.G)
        nn.init.xavier_uniform_(self.P)

    def cores(self, pieces: slice) -> Tensor:
        return (self.P[pieces] @ self.G.flatten(1)).unflatten(1, self.G.shape[1:])


FORMS = dict(tt=TensorTrain, tk=Tucker)


class FacTLinear(Mergeable, StoredLinear):
    """A frozen linear layer of m x n pieces, each C x C, with the update of piece i at row a and
    column b

        W_ab = W0_ab + s * V Sigma_i U^T,   i = first + a * n + b

    computed as V (M (U^T x)), where M (m * r, n * r) holds the layer's cores as the weight holds
    its pieces. ``weight`` and ``bias`` are the base layer's own parameters; the factors are
    registered at the host, once for all layers. The pieces of a fused qkv are those of q, k and v,
    wherever their rows are; with ``qkv_parts`` only of the chosen ones.
    """

    cell_by_cell = True

    def __init__(
        self,
        base: nn.Linear,
        factors: TensorTrain,
        first: int,
        grid: tuple[int, int],
        scale: float,
        qkv_parts: QKVParts | None,
    ) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device='meta')
        self.weight, self.bias = base.weight, base.bias
        self.shared = (factors,)  # in a tuple, which does not register it
        self.grid, self.pieces = grid, slice(first, first + math.prod(grid))
        self.scale, self.qkv_parts = scale, qkv_parts

    @property
    def M(self) -> Tensor:
        """(out / C * r, in / C * r), zero where there are no pieces."""
        cores = self.shared[0].cores(self.pieces).unflatten(0, self.grid)  # (m, n, r, r)
        thirds = None if self.qkv_parts is None else QKVParts(self.qkv_parts.chosen)
        return scatter_qkv_rows(cores.transpose(1, 2).flatten(2).flatten(0, 1), thirds)

    def forward(self, x: Tensor) -> Tensor:
        y = stored_linear(x, self.weight, self.bias)
        if self.merged:
            return y
        width, rank = self.shared[0].U.shape
        z = (x.unflatten(-1, (-1, width)) @ self.shared[0].U).flatten(-2)  # (.., n * r)
        z = F.linear(z, self.M).unflatten(-1, (-1, rank))  # (.., out / C, r)
        return y + self.scale * from_thirds(
            F.linear(z, self.shared[0].V).flatten(-2), self.qkv_parts
        )

    def merged_values(self) -> dict[str, Tensor]:
        U, V = self.shared[0].U, self.shared[0].V
        M = self.M.unflatten(1, (-1, U.shape[1])).unflatten(
            0, (-1, U.shape[1])
        )  # (out / C, r, in / C, r)
        update = torch.einsum('cr,arbs,ds->acbd', V, M, U).reshape(self.out_features, -1)
        return dict(
            weight=unpacked(self.weight) + self.scale * from_thirds(update.T, self.qkv_parts).T
        )


@PEFT.register_module()
class FacT(PEFTMethod):
    """A :class:`FacTLinear` in place of every chosen layer, all of their C x C pieces decomposed
    together.

    C is the greatest width that divides those of all chosen layers: the encoder's own, of which qkv
    has 3 pieces, proj 1, lin1 (by rows) and lin2 (by columns) 4 each; in the mask decoder half its
    width. Trains the factors, :class:`TensorTrain` or :class:`Tucker`, which are the host's
    ``fact``. Merges fully: W0 + s V Sigma_i U^T. The dropout of the authors' program is left out.

    Args:
        rank: r, at least 1.
        scale: s; the authors choose it for each data set.
        form: 'tt' (tensor train) or 'tk' (Tucker), the smaller.
        targets: Linear layers of a block, of 'qkv', 'q', 'k', 'v', 'proj', 'mlp'.
        blocks: 'all', 'first:N', 'last:N' or block numbers.

    Raises:
        ValueError: A rank below 1, an unknown form; targets or blocks that are not there.
    """

    merges = 'fully'

    def __init__(
        self,
        rank: int = 16,
        scale: float = 1.0,
        form: str = 'tt',
        targets: Sequence[str] = ('qkv', 'proj', 'mlp'),
        blocks: Blocks = 'all',
    ) -> None:
        if rank < 1:
            raise ValueError(
                f'rank={rank}: the factors need at least rank 1; to train no update use peft type '
                'Frozen.'
            )
        if form not in FORMS:
            raise ValueError(f"form={form!r}: use 'tt' (tensor train) or 'tk' (Tucker).")
        self.rank, self.scale, self.form, self.targets, self.blocks = (
            rank,
            scale,
            form,
            targets,
            blocks,
        )

    def inject(self, host: nn.Module) -> None:
        targets = target_linears(host, self.targets, self.blocks)
        width = math.gcd(*(side for target in targets for side in target.linear.weight.shape))
        rows = [count_rows(target.linear.out_features, target.qkv_parts) for target in targets]
        grids = [
            (side // width, target.linear.in_features // width)
            for side, target in zip(rows, targets, strict=True)
        ]
        like = dict(device=targets[0].linear.weight.device, dtype=targets[0].linear.weight.dtype)
        host.fact = FORMS[self.form](width, sum(map(math.prod, grids)), self.rank, like)
        first = 0
        for target, grid in zip(targets, grids, strict=True):
            layer = FacTLinear(target.linear, host.fact, first, grid, self.scale, target.qkv_parts)
            setattr(target.parent, target.attribute, layer)
            first += math.prod(grid)
