"""Which of Conv-LoRA's experts the gates pick, by block, scale and image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ..apis.inference import init_model
from ..peft import anatomy_of
from ..peft.conv_lora import ConvLoRALinear
from ..registry import DATASETS
from .suite.tables import Table


@dataclass(frozen=True)
class LayerUse:
    """What a layer's gate does on some images.

    Attributes:
        name: ``block 3``, with the layer where a block has several.
        scales: Of its experts.
        chosen: The expert that it picks without noise, ``(images, samples)``: a sample is a window
            in a windowed block, the whole map in a global one.
        noisy: How likely each expert is under the noise of the training, ``(images, M)``, the mean
            over an image's samples.
    """

    name: str
    scales: tuple[int, ...]
    chosen: np.ndarray
    noisy: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The part of all samples that picks each expert, (M,)."""
        counts = np.bincount(self.chosen.ravel(), minlength=len(self.scales))
        return counts / self.chosen.size

    @property
    def by_image(self) -> np.ndarray:
        """The expert that most samples of each image pick, (images,)."""
        counts = np.stack([(self.chosen == e).sum(1) for e in range(len(self.scales))])
        return counts.argmax(0)


def effective_number(shares: np.ndarray) -> float:
    """How many experts are in use: two to the entropy in bits, 1 where one takes all, M where all
    take as many."""
    used = shares[shares > 0]
    return float(2 ** -(used * np.log2(used)).sum())


@torch.no_grad()
def measure_usage(model: nn.Module, samples: Iterable[dict]) -> list[LayerUse]:
    """Runs a segmentor on images, one at a time, and watches the gates of its encoder.

    Args:
        samples: What a data set gives, ``inputs`` and ``data_samples``.

    Raises:
        ValueError: The encoder has no gate.
    """
    layers = gates_of(model.backbone)
    seen = {name: [] for name in layers}
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, inputs, name=name: seen[name].append(_look(layer, inputs[0]))
        )
        for name, layer in layers.items()
    ]
    try:
        for sample in samples:
            model.test_step(pseudo_collate([sample]))
    finally:
        for hook in hooks:
            hook.remove()
    return [
        LayerUse(
            name,
            layers[name].scales,
            np.stack([chosen for chosen, _ in looks]),
            np.stack([noisy for _, noisy in looks]),
        )
        for name, looks in seen.items()
    ]


def gates_of(encoder: nn.Module) -> dict[str, ConvLoRALinear]:
    """The layers with a gate, by the block that they are in.

    Raises:
        ValueError: There is none.
    """
    found = {}
    for number, block in enumerate(anatomy_of(encoder).blocks):
        inside = {
            path: layer
            for path, layer in block.named_modules()
            if isinstance(layer, ConvLoRALinear) and layer.gated and layer.num_experts > 1
        }
        for path, layer in inside.items():
            found[f'block {number}' + (f' {path}' if len(inside) > 1 else '')] = layer
    if not found:
        raise ValueError(
            f'{type(encoder).__name__} has no gate that chooses among experts: expected the '
            "config and adapter of a ConvLoRA with mixture='chosen' or 'expected'."
        )
    return found


def _look(layer: ConvLoRALinear, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    z = F.linear(x, layer.lora_A)
    z = z.to(torch.promote_types(z.dtype, torch.float32)).flatten(1, -2).mean(1)
    chosen = (z @ layer.lora_w_gate.to(z.dtype)).argmax(-1)
    return chosen.cpu().numpy(), layer.probabilities(z).mean(0).cpu().numpy()


def usage_of(
    config: Config, adapter: str, split: str = 'val', images: int | None = None
) -> tuple[list[LayerUse], list[str]]:
    """The use of the experts on a config's images, and the images' paths.

    Args:
        images: That many, evenly spread over the set; None: all.
    """
    model = init_model(config, adapter)
    dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
    count = min(images or len(dataset), len(dataset))
    numbers = np.linspace(0, len(dataset) - 1, count).astype(int)
    paths = [dataset.get_data_info(int(number))['img_path'] for number in numbers]
    return measure_usage(model, (dataset[int(number)] for number in numbers)), paths


def usage_table(uses: Sequence[LayerUse]) -> Table:
    rows = []
    for use in uses:
        most = int(use.shares.argmax())
        alike = (use.by_image == np.bincount(use.by_image).argmax()).sum()
        rows.append(
            [
                use.name,
                f'{use.chosen.shape[1]}',
                f'{use.scales[most]}',
                f'{100 * use.shares[most]:.0f} %',
                f'{alike} of {len(use.chosen)}',
                f'{effective_number(use.shares):.2f}',
                f'{effective_number(use.noisy.mean(0)):.2f}',
            ]
        )
    return Table(
        f'Use of the experts on {len(uses[0].chosen)} images',
        [
            'layer',
            'samples an image',
            'scale picked most',
            'by samples',
            'images alike',
            'experts in use',
            'in training',
        ],
        rows,
        'Experts in use: two to the entropy of the picks, of '
        f'{len(uses[0].scales)}; in training: with the noise of the gate.',
    )


def image_table(uses: Sequence[LayerUse], paths: Sequence[str]) -> Table:
    """For every image and layer, the samples that pick each scale."""
    scales = uses[0].scales
    rows = [
        [path, use.name, *(str(int((picks == e).sum())) for e in range(len(scales)))]
        for use in uses
        for path, picks in zip(paths, use.chosen, strict=True)
    ]
    return Table('Picks', ['image', 'layer', *(f'scale {s}' for s in scales)], rows)


def plot_usage(uses: Sequence[LayerUse], path: Path, title: str) -> None:
    """Three panels: the shares of the scales in each layer as evaluated, and as the noise spreads
    them in training; and what each image picks."""
    scales = uses[0].scales
    figure = Figure(figsize=(15, 1.5 + 0.34 * len(uses)), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    evaluated, trained, images = figure.subplots(1, 3, width_ratios=[1, 1, 2.2])
    shares = [
        np.stack([use.shares for use in uses]),
        np.stack([use.noisy.mean(0) for use in uses]),
    ]
    names = ['picked in evaluation', 'likely in training, with noise']
    for axes, values, name in zip((evaluated, trained), shares, names, strict=True):
        axes.imshow(values, vmin=0, vmax=1, cmap='Blues', aspect='auto')
        for row, column in np.ndindex(*values.shape):
            if values[row, column] >= 0.005:
                dark = values[row, column] > 0.5
                axes.text(
                    column,
                    row,
                    f'{100 * values[row, column]:.0f}',
                    ha='center',
                    va='center',
                    fontsize=7,
                    color='white' if dark else 'black',
                )
        axes.set_xticks(range(len(scales)), scales)
        axes.set_yticks(range(len(uses)), [use.name for use in uses], fontsize=8)
        axes.set_xlabel('scale')
        axes.set_title(f'{name}, %', fontsize=10)
    colours = ListedColormap([colormaps['tab20'](i % 20) for i in range(len(scales))])
    shown = images.imshow(
        np.stack([use.by_image for use in uses]),
        cmap=colours,
        vmin=-0.5,
        vmax=len(scales) - 0.5,
        aspect='auto',
        interpolation='nearest',
    )
    images.set_yticks([])
    images.set_xlabel('image')
    images.set_title('scale that most samples of an image pick', fontsize=10)
    bar = figure.colorbar(shown, ax=images, ticks=range(len(scales)))
    bar.ax.set_yticklabels(scales)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)
