"""Four and a half bits a weight: NF4, the 4-bit NormalFloat (Dettmers et al., "QLoRA: Efficient
Finetuning of Quantized LLMs", 2023, appendix E), in blocks of 64 weights with a scale each.

Stored as uint8 (out, in * 9 / 16): row after row first the codes, two to a byte, the first in the
upper half; then the blocks' largest absolute values, float32. Storing again what was widened in
float32 gives the same bytes. The paper also quantises the scales, 0.37 bits less; that is left out,
as it is not repeatable.
"""

from itertools import pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor

from ..constants import kept

DTYPE = torch.uint8
BLOCK = 64
# fmt: off
CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on
"""The 16 values between which a block's weights are rounded, divided by the block's largest."""


def store(weight: Tensor) -> Tensor:
    """ValueError where blocks do not fit into the layer."""
    if weight.shape[1] % 16 or weight.numel() % BLOCK:
        raise ValueError(
            f'nf4 stores blocks of {BLOCK} weights, in rows of a multiple of 16: got a layer of '
            f"{tuple(weight.shape)}. Use base_dtype='int8'."
        )
    blocks = weight.float().reshape(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    middles = torch.tensor([(a + b) / 2 for a, b in pairwise(CODE)], device=weight.device)
    codes = torch.bucketize(blocks / torch.where(largest == 0, 1, largest), middles)
    codes = codes.to(DTYPE).view(-1, 2)
    packed = codes[:, 0] * 16 + codes[:, 1]
    return torch.cat([packed, largest.view(DTYPE).flatten()]).view(len(weight), -1)


def widen(stored: Tensor, dtype: torch.dtype) -> Tensor:
    count, flat = numbers(stored), stored.flatten()
    largest = flat[count // 2 :].view(torch.float32)
    pairs = F.embedding(flat[: count // 2].int(), pair_table(stored.device))
    return pairs.view(-1, BLOCK).mul_(largest[:, None]).view(len(stored), -1).to(dtype)


def numbers(stored: Tensor) -> int:
    return stored.numel() * 16 // 9


@kept
def pair_table(device: torch.device) -> Tensor:
    """The two values of every byte, (256, 2); on a device once, as copying it there waits for the
    device."""
    return torch.tensor(list(product(CODE, CODE)), device=device)
