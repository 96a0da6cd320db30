"""Which position tables a base has, said so that rounding does not matter.

Tables are resized to the image size when they are loaded, and resizing rounds differently from
machine to machine, so that their hash would not do.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

TABLES = ('pos_embed', 'rel_pos')
"""What position tables have in their names."""
FREQUENCIES = (1.4142135623730951, 1.7320508075688772, 2.23606797749979, 2.6457513110645907)
TOLERANCE = 5e-3
"""By how much two sketches of one base may differ, as a share of the tables' size. Rounding to
bfloat16 makes less than 1e-3, resizing elsewhere 1e-6."""


def is_table(name: str) -> bool:
    return any(table in name for table in TABLES)


def sketch(parameters: Iterable[tuple[str, Tensor]]) -> list[float] | None:
    """The tables' root mean square, and for each of ``FREQUENCIES`` the sum of all values times a
    wave of it, over the root of their number: about as large as the first for tables that are not
    alike. None where there are no tables."""
    tables = [
        value.detach().to('cpu', torch.float64).reshape(-1).numpy()
        for name, value in parameters
        if is_table(name)
    ]
    if not tables:
        return None
    values = np.concatenate(tables)
    places = np.arange(len(values), dtype=np.float64)
    waves = [values @ np.cos(frequency * places) for frequency in FREQUENCIES]
    return [
        float(np.sqrt(np.mean(values**2))),
        *(float(wave / np.sqrt(len(values))) for wave in waves),
    ]


def alike(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether two sketches are of the same tables; True where a file has none."""
    if one is None or other is None:
        return True
    size = max(one[0], other[0])
    return all(abs(a - b) <= TOLERANCE * size for a, b in zip(one, other, strict=True))


def is_sketch(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 1 + len(FREQUENCIES)
        and all(type(number) in (int, float) for number in value)
    )
