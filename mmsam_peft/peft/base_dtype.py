"""Storing what a method leaves frozen in fewer bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..layers.storage import PACKED, STORAGES, is_packed, widen
from ..layers.stored_linear import StoredLinear
from ..registry import PEFT
from .base import PEFTMethod
from .placement import specialise_in_place

BASE_DTYPES = ('float32', *STORAGES)


def check_base_dtype(base_dtype: str, method: PEFTMethod | None) -> None:
    """ValueError where there is no such storage, or the method cannot do with one."""
    if base_dtype not in BASE_DTYPES:
        raise ValueError(
            f'base_dtype={base_dtype!r} is unknown: use one of {", ".join(BASE_DTYPES)}.'
        )
    if base_dtype != 'float32' and (method is None or not method.stores):
        able = ', '.join(sorted(name for name, kind in PEFT.module_dict.items() if kind.stores))
        name = 'no method (peft=None)' if method is None else type(method).__name__
        raise ValueError(
            f'base_dtype={base_dtype!r} stores frozen linear layers in fewer bits, which '
            f"{name} has none of or computes with by itself: use base_dtype='float32', or a "
            f'method that leaves some frozen, of {able}.'
        )


def make_storable(host: nn.Module) -> None:
    """Lets every plain linear layer have its weight stored in any way. To be called before the
    method's injection: what the method specialises then goes before that."""
    for module in list(host.modules()):
        if type(module) is nn.Linear:
            specialise_in_place(module, StoredLinear)


@torch.no_grad()
def store_frozen(host: nn.Module, method: PEFTMethod, base_dtype: str) -> None:
    """Stores the weights of the linear layers that the method does not train as ``base_dtype``
    says. All else stays as it is: what is trained; biases, norms, positions and convolutions, a
    hundredth of a vision transformer, whose rounding would shift whole channels or places.

    Raises:
        ValueError: There is nothing to store, as in full fine-tuning; blocks of the storage do not
            fit into a layer.
    """
    frozen = [
        layer
        for path, layer in host.named_modules()
        if isinstance(layer, StoredLinear) and f'{path}.weight' not in method.trained_names
    ]
    if not frozen:
        raise ValueError(
            f'base_dtype={base_dtype!r} stores frozen linear layers in fewer bits, and '
            f"{type(method).__name__} trains all of them: use base_dtype='float32', or a method "
            'that leaves some frozen, such as LoRA.'
        )
    for layer in frozen:
        stored = STORAGES[base_dtype].store(layer.weight.detach())
        layer.weight = nn.Parameter(stored, requires_grad=False)


@contextmanager
def packed_later(host: nn.Module) -> Iterator[None]:
    """While it lasts, packed weights are float32: MMEngine takes the mean of every parameter before
    and after ``init_weights``. They lie on the CPU, as they may be more than the device has room
    for."""
    packed = [
        (layer, layer.weight.dtype, layer.weight.device)
        for layer in host.modules()
        if isinstance(layer, StoredLinear) and is_packed(layer.weight)
    ]
    for layer, _, _ in packed:
        layer.weight.data = widen(layer.weight.data.cpu())
    try:
        yield
    finally:
        for layer, dtype, device in packed:
            layer.weight.data = PACKED[dtype].store(layer.weight.data).to(device)
