"""How far the attention of an encoder reaches, block by block and head by head.

The mean attention distance of a head is the distance between a query and the keys that it looks at,
weighted by how much, and averaged over queries and images (Dosovitskiy et al., "An Image is Worth
16 x 16 Words", 2021, figure 7; Raghu et al., 2021):

    mean over i of  sum_j A_ij |p_i - p_j| / sum_j A_ij

with the positions p in pixels of the network's input. Padding of windows and extra tokens have no
position and take no part.

Nothing here knows an encoder: what is put in as values comes out of an attention as weighted means
of them, so that values of ones and zeros bring out the weights, as many keys at a time as a head
has channels.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..peft.anatomy import Anatomy, anatomy_of
from .picture_files import new_figure, save_figure
from .rows import Rows


@dataclass(frozen=True)
class BlockReach:
    """How far a block looks.

    Attributes:
        windowed: Whether its attention sees a part of the map at a time.
        heads: The mean distance of each head, in pixels.
    """

    windowed: bool
    heads: np.ndarray


@torch.no_grad()
def attention_distances(encoder: nn.Module, images: Iterable[Tensor]) -> list[BlockReach]:
    """The reach of every block, in the order they run.

    Args:
        images: Batches (B, 3, H, W), normalised.

    Raises:
        ValueError: The encoder's anatomy does not say what is needed to read its attention; no
            image.
    """
    anatomy = readable(encoder)
    probes = [Probe(anatomy, number) for number in range(len(anatomy.blocks))]
    hooks = [hook for probe in probes for hook in probe.attach()]
    try:
        for batch in images:
            encoder(batch)
    finally:
        for hook in hooks:
            hook.remove()
    silent = [number for number, probe in enumerate(probes) if not probe.count]
    if silent:
        raise ValueError(
            f'{type(encoder).__name__}: block {silent[0]} was not run as a module, or there was no '
            'image. An encoder that was adapted in another way can be merged first: '
            'init_model(.., merge=True).'
        )
    return [BlockReach(probe.windowed, (probe.sum / probe.count).numpy()) for probe in probes]


def readable(encoder: nn.Module) -> Anatomy:
    """The encoder's anatomy. ValueError where its attention cannot be read."""
    anatomy, name = anatomy_of(encoder), type(encoder).__name__
    if 'maps' not in anatomy.can:
        raise ValueError(
            f'{name} has no linear layers that see maps (B, H, W, C), so that the positions of '
            "queries and keys are unknown: its anatomy does not promise 'maps'."
        )
    if anatomy.heads is None or anatomy.patches is None:
        raise ValueError(
            f"{name}'s anatomy does not state its attention's heads and the convolution that makes "
            'its patches: without them nobody can read its attention.'
        )
    if any(len(parts.paths('proj')) != 1 for parts in anatomy.parts):
        raise ValueError(f'{name} has blocks of several attentions, or of none that is projected.')
    return anatomy


class Probe:
    """Reads the attention of a block each time that it runs."""

    def __init__(self, anatomy: Anatomy, number: int) -> None:
        heads = anatomy.heads
        self.block, self.parts = anatomy.blocks[number], anatomy.parts[number]
        self.heads = heads if isinstance(heads, int) else heads[number]
        self.stride = anatomy.patches.stride
        self.keys: range | None = None  # that are being read
        self.windowed, self.sum, self.count = False, torch.zeros(self.heads).double(), 0

    def attach(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        value = self.parts.paths('qkv' if self.parts.fused else 'v')[0]
        proj = self.parts.paths('proj')[0]
        yield self.block.get_submodule(value).register_forward_hook(self.put_in)
        yield self.block.get_submodule(proj).register_forward_pre_hook(self.take_out)
        yield self.block.register_forward_hook(self.read, with_kwargs=True)

    def put_in(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        """Ones and zeros in place of the values; extra tokens (B, P, C) get zeros."""
        x = inputs[0]
        if x.dim() == 4:
            self.map, self.inside = x.shape[1:3], (x != 0).any(-1).flatten(1)  # padding is zero
        if self.keys is None:
            return None
        fused = output.unflatten(-1, (self.parts.qkv_groups, 3, -1)) if self.parts.fused else None
        width = (output if fused is None else fused[..., 2, :].flatten(-2)).shape[-1]
        codes = output.new_zeros(*x.shape[1:-1], self.heads, width // self.heads)
        if x.dim() == 4:
            cells = codes.flatten(0, 1)
            for channel, key in enumerate(self.keys):
                cells[key, :, channel] = 1
        codes = codes.flatten(-2).expand(*output.shape[:-1], -1)
        if fused is None:
            return codes
        fused = fused.clone()
        fused[..., 2, :] = codes.unflatten(-1, (self.parts.qkv_groups, -1))
        return fused.flatten(-3)

    def take_out(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        """The weights of these keys, (B, queries, heads, channels of a head). Extra tokens, which
        may come by themselves, are no queries."""
        x = inputs[0].reshape(len(inputs[0]), -1, inputs[0].shape[-1])
        if x.shape[1] >= self.map[0] * self.map[1]:
            self.weights = x.unflatten(-1, (self.heads, -1))

    def read(self, block: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        """Runs the block again and again, for some keys at a time, and adds up the distances."""
        rows, columns = self.map
        N, channels = rows * columns, self.weights.shape[-1]
        x = args[0] if args else next(iter(kwargs.values()))
        self.windowed = x.shape[1:3] != self.map
        position = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        position = (position * torch.tensor(self.stride)).float().to(self.weights.device)
        distance = total = 0.0
        for start in range(0, N, channels):
            with self.reading(range(start, min(start + channels, N))):
                block.forward(*args, **kwargs)
            number = len(self.keys_read)
            copies = len(self.weights) // len(self.inside)  # of tasks, which follow one another
            inside = self.inside.repeat(copies, 1)
            weights = self.weights[:, :N, :, :number].float()
            weights = weights * inside[:, None, None, start : start + number]
            apart = torch.cdist(position, position[start : start + number])
            distance = distance + (weights * apart[:, None]).sum(-1)  # (B, N, heads)
            total = total + weights.sum(-1)
        mean = (distance / total)[inside]  # of the queries inside the image
        self.sum += mean.sum(0).double().cpu()
        self.count += len(mean)

    @contextmanager
    def reading(self, keys: range) -> Iterator[None]:
        self.keys = self.keys_read = keys
        try:
            yield
        finally:
            self.keys = None


def distance_rows(reaches: dict[str, Sequence[BlockReach]]) -> Rows:
    """A row for each encoder and block; distances in pixels."""
    head = ['encoder', 'block', 'attention', 'mean of heads', 'nearest head', 'farthest head']
    return [head] + [
        [
            name,
            str(number),
            'windows' if reach.windowed else 'global',
            f'{reach.heads.mean():.1f}',
            f'{reach.heads.min():.1f}',
            f'{reach.heads.max():.1f}',
        ]
        for name, blocks in reaches.items()
        for number, reach in enumerate(blocks)
    ]


def plot_distances(reaches: dict[str, Sequence[BlockReach]], path: Path) -> None:
    """A panel for each encoder: a dot for each head, and a line through the blocks' means."""
    figure = new_figure(3.4 * len(reaches) + 0.6, 3.2)
    panels = figure.subplots(1, len(reaches), sharey=True, squeeze=False)[0]
    for axes, (name, blocks) in zip(panels, reaches.items(), strict=True):
        axes.plot([reach.heads.mean() for reach in blocks], color='0.6', linewidth=1, zorder=0)
        for windowed, colour, label in ((False, '#c1440e', 'global'), (True, '#1f6fb2', 'windows')):
            dots = [
                (number, value)
                for number, reach in enumerate(blocks)
                for value in reach.heads
                if reach.windowed == windowed
            ]
            if dots:
                axes.scatter(*zip(*dots, strict=True), s=12, color=colour, label=label)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel('block')
        axes.legend(fontsize=8, frameon=False)
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].set_ylabel('mean attention distance, pixels')
    panels[0].set_ylim(bottom=0)
    save_figure(figure, path)
