"""Where the map lies in the tokens of a transformer that knows no maps."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor


@dataclass
class TokenLayout:
    """Tokens (B, P + H * W, C): P class and register tokens, then the map row by row.

    An encoder has one, and so has every layer in it that wants to see maps; it is filled before
    each block, in the backward pass too where the block is computed again.

    Attributes:
        size: (H, W) of the map.
        further: What else the blocks need to know of the image, such as rotary positions.
    """

    size: tuple[int, int] | None = None
    further: Any = None

    def to_map(self, tokens: Tensor) -> Tensor:
        """(B, P + H * W, C) to (B, H, W, C)"""
        height, width = self.size
        return tokens[:, tokens.shape[1] - height * width :].unflatten(1, self.size)

    def to_tokens(self, x: Tensor, count: int) -> Tensor:
        """(B, H, W, C) to (B, count, C), with zeros in front of the map."""
        x = x.flatten(1, 2)
        return F.pad(x, (0, 0, count - x.shape[1], 0))

    def __getstate__(self) -> dict:
        return {}  # of one image: neither copied nor pickled
