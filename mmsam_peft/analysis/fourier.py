"""How much of high frequencies the maps of an encoder hold, block by block.

Of a map x (H, W, C) with its two-dimensional Fourier transform F(x), the relative log amplitude at
a frequency f from 0 to pi is

    log |F(x)(f, f)| - log |F(x)(0, 0)|

averaged over channels and images (Park and Kim, "How Do Vision Transformers Work?", ICLR 2022,
figure 2): along the diagonal, f times H / 2 pi rows and f times W / 2 pi columns from the mean.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor, nn

from ..peft.anatomy import anatomy_of
from .picture_files import new_figure, save_figure
from .rows import Rows

SMALLEST = 1e-6
"""Is added to amplitudes, of which one may be 0."""


def relative_log_amplitude(maps: Tensor) -> Tensor:
    """Of maps (B, H, W, C) on the diagonal, (min(H, W) // 2 + 1,) from 0 to pi; the mean of B and
    C."""
    H, W = maps.shape[1:3]
    amplitude = torch.fft.fft2(maps.double(), dim=(1, 2)).abs()
    log = (amplitude + SMALLEST).log().mean((0, 3))
    steps = torch.arange(min(H, W) // 2 + 1, device=maps.device)
    rows, columns = (
        (steps * side / min(H, W)).round().long().clamp(max=side // 2) for side in (H, W)
    )
    return log[rows, columns] - log[0, 0]


@torch.no_grad()
def amplitudes(encoder: nn.Module, images: Iterable[Tensor]) -> np.ndarray:
    """The relative log amplitudes of the map after each block, (blocks, frequencies), the mean over
    images.

    Args:
        images: Batches (1, 3, H, W), normalised, of one size.

    Raises:
        ValueError: The blocks give no maps (B, H, W, C), or of several sizes; there is no image.
    """
    curves = []
    for batch in images:
        curves.append(torch.stack([relative_log_amplitude(x) for x in block_maps(encoder, batch)]))
    if not curves:
        raise ValueError('There is no image to look at.')
    return torch.stack(curves).mean(0).cpu().numpy()


@torch.no_grad()
def block_maps(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """The map (B, H, W, C) after each of an encoder's blocks, in the order they run.

    Raises:
        ValueError: A block gives something else, is not run as a module, or the sizes differ.
    """
    name, found = type(encoder).__name__, []
    hooks = [
        block.register_forward_hook(
            lambda _, inputs, output: found.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
        for block in anatomy_of(encoder).blocks
    ]
    try:
        encoder(images)
    finally:
        for hook in hooks:
            hook.remove()
    if len(found) != len(hooks) or any(x.dim() != 4 for x in found):
        shapes = ', '.join({str(tuple(x.shape)) for x in found}) or 'none'
        raise ValueError(
            f'{name}: expected a map (B, H, W, C) from each of its {len(hooks)} blocks, got '
            f'{len(found)} outputs of shape {shapes}. Encoders of tokens have no place here.'
        )
    if len({x.shape[1:3] for x in found}) > 1:
        raise ValueError(f'{name}: its blocks give maps of several sizes, which do not compare.')
    return found


def amplitude_rows(curves: dict[str, np.ndarray]) -> Rows:
    """A row for each encoder and block, a column for each frequency in parts of pi."""
    most = max(curve.shape[1] for curve in curves.values())
    rows = [['encoder', 'block', 'frequencies from 0 to pi', *[''] * (most - 1)]]
    for name, blocks in curves.items():
        for number, curve in enumerate(blocks):
            rows.append([name, str(number), *(f'{value:.3f}' for value in curve)])
    return rows


def plot_amplitudes(curves: dict[str, np.ndarray], path: Path) -> None:
    """A panel of curves for each encoder, light to dark from the first block to the last; in the
    last panel what is left at the highest frequency, block by block."""
    figure = new_figure(3 * len(curves) + 3.4, 3.1)
    *panels, last = figure.subplots(1, len(curves) + 1)
    low = min(curve.min() for curve in curves.values())
    for axes, (name, blocks) in zip(panels, curves.items(), strict=True):
        for number, curve in enumerate(blocks):
            colour = colormaps['viridis_r'](0.1 + 0.9 * number / max(1, len(blocks) - 1))
            axes.plot(np.linspace(0, 1, len(curve)), curve, color=colour, linewidth=1.2)
        axes.set_title(name, fontsize=10)
        axes.set_ylim(1.05 * low, max(0, max(curve.max() for curve in curves.values())) + 0.2)
        axes.set_xlabel('frequency / π')
        last.plot(blocks[:, -1], marker='o', markersize=3, linewidth=1.2, label=name)
    panels[0].set_ylabel('relative log amplitude')
    last.set_title('at frequency π', fontsize=10)
    last.set_xlabel('block')
    last.legend(fontsize=8, frameon=False)
    for axes in (*panels, last):
        axes.spines[['top', 'right']].set_visible(False)
    save_figure(figure, path)


def mean_curves(encoders: Sequence, paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """The amplitudes of several encoders on the same image files."""
    return {one.name: amplitudes(one.module, one.images(paths)) for one in encoders}
