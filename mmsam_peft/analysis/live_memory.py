"""The bytes of all tensors there are at a time, while something is computed or only counted."""

import weakref
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..layers.chunked import CHUNK


class LiveTensors(TorchDispatchMode):
    """While it is on, ``now`` is what the tensors seen so far hold, storages counted once, and
    ``peak`` the most that was, with what the operators of :data:`WORKSPACE` need inside. With
    tensors without content the same is counted without memory."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in known:
            self.add(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        inside = WORKSPACE.get(func)
        if inside:
            self.peak = max(self.peak, self.now + inside(*args))
        return result

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.sizes and tensor.device.type != 'meta':
            self.sizes[key] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def _chunks(rooms: int, copies: int) -> Callable[..., int]:
    """Bytes inside an operator of ``layers/chunked.py``: its chunks, and in less than float32 its
    inputs so many times over."""

    def count(*args) -> int:
        q, k, _, rel_h, rel_w = args[-6:-1]
        chunk = min(max(CHUNK, k.shape[1]), q.shape[0] * q.shape[1] * k.shape[1])
        one = 2 * q.numel() + 2 * k.numel() + rel_h.numel() + rel_w.numel()
        wide = 0 if q.dtype.itemsize >= 4 else copies * one
        return 4 * (rooms * chunk + wide)

    return count


WORKSPACE = {
    torch.ops.mmsam_peft.chunked_attention.default: _chunks(1, 1),
    torch.ops.mmsam_peft.chunked_attention_backward.default: _chunks(3, 2),
}
