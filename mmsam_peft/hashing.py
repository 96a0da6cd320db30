"""What tensors are, in a few bytes."""

import hashlib
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def hash_tensors(tensors: Mapping[str, Tensor], first: bytes = b''):
    """SHA-256 of ``first``, then of names, types, shapes and every bit of the values; more can be
    added to it."""
    digest = hashlib.sha256(first)
    for name, value in sorted(tensors.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest


def checksum(value: Tensor) -> str:
    """Type, shape and CRC-32 of a tensor's bytes: tells accidents and changes apart, no forgeries,
    in a third of the time of a SHA-256."""
    content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return f'{value.dtype} {tuple(value.shape)} {zlib.crc32(content):08x}'
