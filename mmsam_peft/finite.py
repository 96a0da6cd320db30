"""Whether what is trained, saved, loaded, merged and scored is made of finite numbers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

NAMED = 3
"""How many tensors a message names."""


class NotFiniteError(ValueError):
    """A number is NaN or infinite where none may be."""


def named_tensors(content, name: str = '') -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dicts and sequences, by the way there: ``optimizer.state.0.step``."""
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping | list | tuple):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            yield from named_tensors(value, f'{name}.{key}' if name else str(key))


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors in which a number is NaN or infinite; whole numbers never are, and
    minus infinity in what is named ``...mask`` is no fault: attention adds it.

    It reads each tensor once, as fast as memory gives it, and waits once for each device: a sum is
    finite only if all its terms are. Sums may overflow where no term does, so that what they find
    is looked at number by number.
    """
    sums = defaultdict(dict)
    for name, value in tensors.items():
        if (value.is_floating_point() or value.is_complex()) and not value.is_meta:
            narrow = value.is_floating_point() and value.itemsize < 4
            sums[value.device][name] = value.detach().sum(dtype=torch.float32 if narrow else None)
    suspects = []
    for of_device in sums.values():
        finite = torch.stack([one.isfinite() for one in of_device.values()]).tolist()
        suspects += [name for name, fine in zip(of_device, finite, strict=True) if not fine]
    return [name for name in suspects if _faults(name, tensors[name])]


def require_finite(content, what: str, advice: str) -> None:
    """Looks at all tensors in nested dicts and sequences.

    Raises:
        NotFiniteError: A number is NaN or infinite: '``what`` holds ... (tensors). ``advice``'.
    """
    tensors = dict(named_tensors(content))
    if names := not_finite(tensors):
        found = '; '.join(
            f'{name}: {_faults(name, tensors[name]):,} of {tensors[name].numel():,} numbers'
            for name in names[:NAMED]
        )
        more = f'; and {len(names) - NAMED} more tensors' if len(names) > NAMED else ''
        raise NotFiniteError(
            f'{what} holds numbers that are NaN or infinite ({found}{more}). {advice}'
        )


def _faults(name: str, value: Tensor) -> int:
    """How many numbers are NaN or infinite."""
    value = value.detach()
    if value.is_floating_point() and value.itemsize < 2:
        value = value.float()  # PyTorch cannot tell with 8 bits
    faults = ~value.isfinite()
    if name.endswith('mask'):
        faults &= value != -torch.inf
    return int(faults.sum())
