"""Tensors that follow from sizes alone: made once, then remembered."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Made = TypeVar('Made')

is_exporting = getattr(
    torch.compiler, 'is_exporting', torch.compiler.is_compiling
)  # before torch 2.7 the two are one


def kept(make: Callable[..., Made]) -> Callable[..., Made]:
    """Remembers what ``make`` returns, a tensor or a tuple of them.

    While a graph is being traced, what is made is part of it and is not remembered, nor is what has
    no values (FakeTensor, by which steps are counted). An exporter gets what was remembered before,
    as constants: it would take minutes to fold the making of tables.
    """
    made: dict[tuple, Made] = {}

    def remembered(*key) -> Made:
        if torch.compiler.is_compiling():
            return made[key] if is_exporting() and key in made else make(*key)
        if key in made:
            return made[key]
        with torch.inference_mode(False):  # training may follow and takes the same
            found = make(*key)
        if all(type(x) is Tensor for x in (found if isinstance(found, tuple) else [found])):
            made[key] = found
        return found

    remembered.cache_clear = made.clear
    return remembered
