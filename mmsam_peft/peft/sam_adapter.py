"""SAM-Adapter (Chen et al., "SAM-Adapter: Adapting Segment Anything in Underperformed Scenes", ICCV
workshops 2023), after EVP (Liu et al., "Explicit Visual Prompting for Low-Level Structure
Segmentations", CVPR 2023)."""

from collections.abc import Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import PEFT
from .anatomy import anatomy_of
from .base import PEFTMethod
from .placement import Blocks, chosen_blocks


def low_band(size: int, half: int, device: torch.device) -> Tensor:
    """(size,) in the order of an FFT: whether the frequency is one of -half .. half - 1."""
    frequency = (torch.arange(size, device=device) + size // 2) % size - size // 2
    return (frequency >= -half) & (frequency < half)


def high_frequencies(image: Tensor, ratio: float) -> Tensor:
    """The high-frequency component of (B, 3, H, W): |Re F^-1(M F(image))|, where M is zero on the
    square of the lowest frequencies, of side sqrt(H * W * ratio) rounded down to an even number. In
    float32 at least: half precision has no FFT."""
    H, W = image.shape[-2:]
    half = int((H * W * ratio) ** 0.5 / 2)
    low = low_band(H, half, image.device)[:, None] & low_band(W, half, image.device)
    spectrum = torch.fft.fft2(
        image.to(torch.promote_types(image.dtype, torch.float32))
    ).masked_fill(low, 0)
    return torch.fft.ifft2(spectrum).real.abs().to(image.dtype)


class PromptedWalk(nn.Module):
    """The encoder's walk with a prompt, made from the image, added to the input of each of the
    blocks ``numbers``."""

    def __init__(
        self, encoder: nn.Module, numbers: Collection[int], reduction: int, freq_ratio: float
    ) -> None:
        super().__init__()
        anatomy = anatomy_of(encoder)
        patches = anatomy.patches
        weight = patches.weight
        channels = getattr(encoder, 'in_channels', patches.in_channels)
        dim = anatomy.width(range(min(numbers), max(numbers) + 1))
        if not 1 <= reduction <= dim:
            raise ValueError(
                f'reduction={reduction}: the prompts have {dim} / reduction channels: use 1 to '
                f'{dim}.'
            )
        width, like = dim // reduction, dict(device=weight.device, dtype=weight.dtype)
        self.freq_ratio = freq_ratio
        self.patches = nn.Linear(patches.out_channels, width, **like)
        self.frequencies = nn.Conv2d(
            channels, width, patches.kernel_size, patches.stride, patches.padding, **like
        )
        self.tune = nn.ModuleDict(
            {str(number): nn.Linear(width, width, **like) for number in numbers}
        )
        self.up = nn.Linear(width, dim, **like)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, encoder: nn.Module, image: Tensor) -> Iterator[Tensor]:
        patches = encoder.patch_embed(image)
        features = self.features(patches, image)
        x = encoder.add_position(patches)
        for number, block in enumerate(encoder.blocks):
            if str(number) in self.tune:
                x = x + self.up(F.gelu(self.tune[str(number)](features)))
            x = block(x)
            yield x

    def features(self, patches: Tensor, image: Tensor) -> Tensor:
        """What all prompts are made from: (B, H, W, C) and (B, channels, H * patch, W * patch) to
        (B, H, W, C / reduction)."""
        frequencies = self.frequencies(high_frequencies(image, self.freq_ratio))
        return self.patches(patches) + frequencies.permute(
            0, 2, 3, 1
        )  # (B, C, H, W) -> (B, H, W, C)


@PEFT.register_module()
class SAMAdapter(PEFTMethod):
    """A prompt made from the image, added to the map before each block. With E the encoder's patch
    embedding before the position is added, and I_hfc the image's high-frequency component,

        f   = W_pe E + b_pe + conv(I_hfc)
        x_i <- x_i + W_up GELU(W_i f + b_i) + b_up        before block i

    E, x_i: (B, H, W, C); f: (B, H, W, C / reduction); conv is a patch embedding of its own, W_up is
    shared by all blocks. I_hfc is what remains of every channel of the normalised, padded image
    without its lowest frequencies; in a side that is shorter than the square which is removed, no
    frequency remains.

    Trains W_pe, conv, the W_i, W_up and their biases. Not mergeable. W_up and b_up start at zero,
    so that the encoder starts as it was pretrained; in the reference program W_up starts at random.

    Args:
        reduction: C over the width of f.
        freq_ratio: Share of the spectrum's area that is removed, above 0 and below 1.
        blocks: 'all', 'first:N', 'last:N' or block numbers: those that get a prompt.

    Raises:
        ValueError: ``reduction`` below 1 or above C; ``freq_ratio`` out of range; no such block.
    """

    needs = frozenset({'maps', 'walk', 'uniform'})

    def __init__(
        self, reduction: int = 16, freq_ratio: float = 0.25, blocks: Blocks = 'all'
    ) -> None:
        if not 0 < freq_ratio < 1:
            raise ValueError(
                f'freq_ratio={freq_ratio}: the removed share of the spectrum must lie between 0 '
                'and 1.'
            )
        self.reduction, self.freq_ratio, self.blocks = reduction, freq_ratio, blocks

    def inject(self, host: nn.Module) -> None:
        host.walk = PromptedWalk(
            host, chosen_blocks(host, self.blocks), self.reduction, self.freq_ratio
        )
