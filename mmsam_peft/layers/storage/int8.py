"""One byte a weight: whole numbers from -127 to 127 and a scale for each row.

Stored as int8 (out, in + 4); the last four bytes of a row are its scale, float32. Storing again
what was widened in float32 gives the same bytes: the scale has so few digits that its multiples
are exact.
"""

import torch
from torch import Tensor

DTYPE = torch.int8
LARGEST = 127
FREE = 2**7 - 1
"""The digits of a float32 that a scale leaves zero: 127 has seven."""


def store(weight: Tensor) -> Tensor:
    weight = weight.float()
    scale = weight.abs().amax(1, keepdim=True) / LARGEST
    scale = (scale.view(torch.int32) & ~FREE).view(torch.float32)
    steps = weight / torch.where(scale > 0, scale, 1)
    steps = steps.round().clamp(-LARGEST, LARGEST).to(DTYPE)
    return torch.cat([steps, scale.view(DTYPE)], 1)


def widen(stored: Tensor, dtype: torch.dtype) -> Tensor:
    scale = stored[:, -4:].contiguous().view(torch.float32)
    return stored[:, :-4].to(dtype).mul_(scale)


def numbers(stored: Tensor) -> int:
    return stored.numel() - 4 * len(stored)
