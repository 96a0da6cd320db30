"""The beginning of an encoder in which nothing is trained."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...layers.block import run_blocks
from ...peft import anatomy_of
from ...peft.placement import stages


class FrozenPrefix:
    """Patch embedding, position and the blocks before the first in which anything is trained; where
    nothing of the encoder is, the neck as well. What it computes of an image stays the same
    throughout training.

        finish(prefix(image)) == encoder(image)

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
        self.encoder, self.blocks, self.whole = encoder, min(first, depth), first > depth

    def __str__(self) -> str:
        return f'blocks 0 to {self.blocks - 1}' + (' and neck' if self.whole else '')

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised, to the map (B, h, w, C) after the last frozen block, or
        the neck's (B, C, h, w)."""
        if self.whole:
            return self.encoder(images)[0]
        x = self.encoder.pad(images)
        for after in run_blocks(self.encoder, x, end=self.blocks):
            x = after
        return x

    def finish(self, x: Tensor) -> tuple[Tensor, ...]:
        """From that map on, what the encoder returns."""
        if self.whole:
            return (x,)
        for after in run_blocks(self.encoder, x, self.blocks):
            x = after
        return self.encoder.finish(x)

    def state(self) -> dict[str, Tensor]:
        """Everything its output depends on, by name, except the encoder's ``arch``."""
        return {
            name: value
            for name, value in self.encoder.state_dict().items()
            if self.whole or self.stages[name] < self.blocks
        }


class Encoded(NamedTuple):
    """A batch of images after the frozen beginning of the encoder."""

    prefix: FrozenPrefix
    map: Tensor

    @property
    def device(self) -> torch.device:
        return self.map.device
