"""How the weights of a frozen linear layer are stored: in float32, or in fewer bits, a file each.

The dtype says which way it is. A stored weight is one tensor, which moves, copies and saves like
any other, and its numbers can be had back from it alone.
"""

from types import ModuleType

import torch
from torch import Tensor, nn

from . import bfloat16, int8, nf4

STORAGES: dict[str, ModuleType] = {'bfloat16': bfloat16, 'int8': int8, 'nf4': nf4}
"""Each has ``DTYPE``, of what it stores, and ``store(weight)``: weights (out, in) as stored."""
PACKED = {storage.DTYPE: storage for storage in (int8, nf4)}
"""Those whose tensors are no numbers by themselves: they also have ``widen(stored, dtype)``, the
way back, and ``numbers(stored)``, how many weights there are."""


def is_packed(weight: Tensor) -> bool:
    return weight.dtype in PACKED


def widen(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights (out, in) in ``dtype``, however they are stored."""
    return PACKED[weight.dtype].widen(weight, dtype) if is_packed(weight) else weight.to(dtype)


def unpacked(weight: Tensor) -> Tensor:
    """A packed weight as float32, anything else as it is."""
    return widen(weight) if is_packed(weight) else weight


def numbers(weight: Tensor) -> int:
    """How many numbers a parameter stands for."""
    return PACKED[weight.dtype].numbers(weight) if is_packed(weight) else weight.numel()


def shape(value: Tensor) -> torch.Size:
    """Of the numbers that a parameter or a buffer stands for; only parameters are packed."""
    if not (isinstance(value, nn.Parameter) and is_packed(value)):
        return value.shape
    return torch.Size((len(value), numbers(value) // len(value)))
