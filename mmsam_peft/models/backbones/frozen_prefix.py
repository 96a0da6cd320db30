"""The beginning of an encoder in which nothing is trained."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...layers.block import run_blocks
from ...peft import anatomy_of
from ...peft.placement import stages


class FrozenPrefix:
    """Patch embedding, position and the blocks before the first in which anything is trained; where
    nothing of the encoder is, the neck as well, if it gives a single map. What it computes of an
    image stays the same throughout training.

        finish(prefix(image)) == encoder(image)

    Where a neck takes the maps after several blocks, the encoder's ``ends``, those of the beginning
    belong to what it computes: one tensor on the coarsest grid, in whose cells the finer maps'
    cells are channels.

    Attributes:
        blocks: How many blocks belong to it.
        whole: Whether it is the whole encoder.

    Raises:
        ValueError: There is no such beginning, for the reason given.
    """

    def __init__(self, encoder: nn.Module) -> None:
        anatomy, method = (
            anatomy_of(encoder),
            type(encoder.peft).__name__ if encoder.peft else 'Full',
        )
        depth = len(anatomy.blocks)
        cure = (
            'Use peft type Frozen, or a method on late blocks, such as '
            "dict(type='LoRA', blocks='last:4')."
        )
        if 'walk' not in anatomy.can:
            raise ValueError(
                f'{type(encoder).__name__} does not run its blocks one by one, so that no '
                'beginning of it stands '
                'alone: train it without a feature cache.'
            )
        if getattr(encoder, 'out_indices', None) is not None:
            raise ValueError(
                f'out_indices={anatomy.outputs}: a frozen beginning is known for encoders that '
                'return '
                'the output of their neck. Leave out_indices away.'
            )
        if encoder.walk is not run_blocks:
            raise ValueError(
                f'{method} follows all blocks beside the encoder, so that no beginning of it '
                f'stands alone. {cure}'
            )
        # what a method added outside the blocks may be used in any of them
        added = encoder.peft.added if encoder.peft else ()
        self.stages = {
            name: 0 if name in added and stage == depth else stage
            for name, stage in stages(encoder).items()
        }
        starts = {
            name: self.stages[name]
            for name, p in encoder.named_parameters(remove_duplicate=False)
            if p.requires_grad
        }
        first = min(starts.values(), default=depth + 1)
        if first == 0:
            name = min(starts, key=starts.get)
            raise ValueError(f'{method} trains {name}: the encoder has no frozen beginning. {cure}')
        self.encoder, self.blocks = encoder, min(first, depth)
        self.ends = getattr(encoder, 'ends', (depth - 1,))
        single = getattr(encoder, 'single_map', True)
        self.whole = first > depth and single and len(self.ends) == 1
        last = self.blocks - 1
        self.kept = [*(end for end in self.ends if end < last), last]

    def __str__(self) -> str:
        earlier = ' and '.join(map(str, self.kept[:-1]))
        kept = f', with the maps after {earlier}' if earlier else ''
        return f'blocks 0 to {self.blocks - 1}' + (' and neck' if self.whole else kept)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised, to the map (B, h, w, C) after the last frozen block,
        with those before it that the neck takes, or the neck's (B, C, h, w)."""
        if self.whole:
            return self.encoder(images)[0]
        steps = enumerate(run_blocks(self.encoder, self.encoder.pad(images), end=self.blocks))
        maps = [x for number, x in steps if number in self.kept]
        side = maps[-1].shape[1]
        return (
            torch.cat([coarser(x, x.shape[1] // side) for x in maps], -1) if maps[1:] else maps[0]
        )

    def finish(self, x: Tensor) -> tuple[Tensor, ...]:
        """From there on, what the encoder returns."""
        if self.whole:
            return (x,)
        *maps, x = self.apart(x)
        if self.kept[-1] in self.ends:
            maps.append(x)
        for number, after in enumerate(run_blocks(self.encoder, x, self.blocks), self.blocks):
            if number in self.ends:
                maps.append(after)
        return self.encoder.finish(*maps)

    def apart(self, x: Tensor) -> list[Tensor]:
        """The maps after the blocks ``kept``."""
        if len(self.kept) == 1:
            return [x]
        anatomy, strides = anatomy_of(self.encoder), self.encoder.strides
        times = [strides[self.kept[-1]] // strides[number] for number in self.kept]
        widths = [anatomy.linear(number, 'proj').out_features for number in self.kept]
        parts = x.split([t * t * width for t, width in zip(times, widths, strict=True)], -1)
        return [finer(part, t) for part, t in zip(parts, times, strict=True)]

    def of(self, encoder: nn.Module) -> 'FrozenPrefix':
        """The same beginning of another encoder, in which it has the same weights."""
        other = copy.copy(self)
        other.encoder = encoder
        return other

    def state(self) -> dict[str, Tensor]:
        """Everything its output depends on, by name, except the encoder's ``arch``."""
        return {
            name: value
            for name, value in self.encoder.state_dict().items()
            if self.whole or self.stages[name] < self.blocks
        }


def coarser(x: Tensor, times: int) -> Tensor:
    """(B, t * h, t * w, C) to (B, h, w, t * t * C)."""
    x = x.unflatten(1, (-1, times)).unflatten(3, (-1, times))
    return x.transpose(2, 3).flatten(3)


def finer(x: Tensor, times: int) -> Tensor:
    """The inverse."""
    x = x.unflatten(3, (times, times, -1)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


class Encoded(NamedTuple):
    """A batch of images after the frozen beginning of the encoder."""

    prefix: FrozenPrefix
    map: Tensor

    @property
    def device(self) -> torch.device:
        return self.map.device
