"""The beginning of an encoder in which nothing is trained."""
from collections import deque
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor

from .sam_vit import SAMViT, walk


class FrozenPrefix:
    """Patch embedding, position and the blocks before the first in which anything is trained; where nothing of the encoder is,
    the neck as well. What it computes of an image stays the same throughout training.

        rest(prefix(image)) == encoder(image)

    Attributes:
        blocks: How many blocks belong to it.
        whole: Whether it is the whole encoder.

    Raises:
        ValueError: There is no such beginning, for the reason given.
    """

    def __init__(self, encoder: SAMViT) -> None:
        depth, method = len(encoder.blocks), type(encoder.peft).__name__ if encoder.peft else 'Full'
        cure = "Take peft type Frozen, or a method on late blocks, such as dict(type='LoRA', blocks='last:4')."
        if encoder.neck is None:
            raise ValueError(f'out_indices={tuple(encoder.out_indices)}: a frozen beginning is known for encoders that return '
                             'the output of their neck. Leave out_indices away.')
        if encoder.walk is not walk:
            raise ValueError(f'{method} follows all blocks beside the encoder, so that no beginning of it stands alone. {cure}')
        starts = {name: _stage(name, depth) for name, p in encoder.named_parameters(remove_duplicate=False) if p.requires_grad}
        first = min(starts.values(), default=depth + 1)
        if first == 0:
            name = min(starts, key=starts.get)
            raise ValueError(f'{method} trains {name}: the encoder has no frozen beginning. {cure}')
        self.encoder, self.blocks, self.whole = encoder, min(first, depth), first > depth

    def __str__(self) -> str:
        return f'blocks 0 to {self.blocks - 1}' + (' and neck' if self.whole else '')

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised, to the map (B, h, w, C) after the last frozen block, or the neck's (B, C, h, w)."""
        if self.whole:
            return self.encoder(images)[0]
        maps = walk(self.encoder, self.encoder.pad(images))
        return deque(islice(maps, self.blocks), maxlen=1).pop()

    def rest(self, x: Tensor) -> tuple[Tensor, ...]:
        """From that map on, what the encoder returns."""
        if self.whole:
            return (x,)
        x = deque(chain([x], walk(self.encoder, x, self.blocks)), maxlen=1).pop()
        return (self.encoder.neck(x.permute(0, 3, 1, 2)),)  # (B, h, w, C) -> (B, C, h, w)

    def state(self) -> dict[str, Tensor]:
        """Everything its output depends on, by name, except the encoder's ``arch``."""
        depth = len(self.encoder.blocks)
        end = depth + 1 if self.whole else self.blocks
        return {name: value for name, value in self.encoder.state_dict().items() if _stage(name, depth) < end}


class Encoded(NamedTuple):
    """A batch of images after the frozen beginning of the encoder."""

    prefix: FrozenPrefix
    map: Tensor

    @property
    def device(self) -> torch.device:
        return self.map.device


def _stage(name: str, depth: int) -> int:
    """Before which block a parameter is first needed: its own, ``depth`` for the neck, 0 for all others."""
    part, *numbers = name.split('.')
    return int(numbers[0]) if part == 'blocks' else depth if part == 'neck' else 0
