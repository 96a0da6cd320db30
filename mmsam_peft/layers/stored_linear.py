"""Linear layers whose frozen weights may be stored in fewer bits than the numbers they multiply."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .storage import widen


class Widened(torch.autograd.Function):
    """x W^T + b with W widened to the dtype of x, and again in the backward pass: nothing but the
    weights as they are stored is kept. W gets no gradient, x the exact one.

    x: (N, in); weight: as stored, of (out, in); b: (out,), of the dtype of x, or None.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, widen(weight, x.dtype), bias)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (weight,) = ctx.saved_tensors
        for_x, _, for_bias = ctx.needs_input_grad
        return (
            g @ widen(weight, g.dtype) if for_x else None,
            None,
            g.sum(0) if for_bias else None,
        )


def computed_in(x: Tensor) -> torch.dtype:
    """The dtype in which a product with x is computed: autocast's, where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def stored_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` for a weight stored in any way, see ``storage``."""
    if weight.dtype == torch.float32 or weight.dtype == (dtype := computed_in(x)):
        return F.linear(x, weight, bias)
    bias = None if bias is None else bias.to(dtype)
    if weight.requires_grad:  # thawed after it was stored
        return F.linear(x.to(dtype), weight.to(dtype), bias)
    rows = x.reshape(-1, x.shape[-1]).to(
        dtype
    )  # of more axes, y would be a view, which cannot change
    return Widened.apply(rows, weight, bias).view(*x.shape[:-1], -1)


class StoredLinear(nn.Linear):
    """A linear layer whose weight may be stored in any way. A subclass multiplies with it by
    :func:`stored_linear`, and reads it by ``storage.widen``."""

    cell_by_cell = True

    def forward(self, x: Tensor) -> Tensor:
        return stored_linear(x, self.weight, self.bias)
