"""Encoders to be looked at, as a command line names them, and their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ..adapters.file import carried_header
from ..adapters.header import ADAPTER
from ..apis.from_header import is_weights
from ..apis.inference import default_device, init_model
from ..models.backbones import SAMViT
from ..models.backbones.checkpoints import guess_arch, read_sam_checkpoint
from ..models.backbones.keys import unwrapped
from ..models.backbones.mae_vit import is_mae, read_mae
from ..models.backbones.sam_vit import ARCHS, COMMON
from ..safe_load import load_safetensors, local_weights
from ..visualization.images import image_to_show, resized

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of red, green and blue, with which SAM, MAE and most others see images."""
NOTATION = 'NAME=CONFIG, NAME=CONFIG,WEIGHTS or NAME=FILE (an adapter, or weights of SAM or MAE)'


@dataclass
class Encoder:
    """An encoder and how it wants its images.

    Attributes:
        size: (height, width) to which images are brought.
        mean, std: Of red, green and blue, from 0 to 255.
        pixels: The config's, for images of other than 8 bits.
    """

    name: str
    module: nn.Module
    size: tuple[int, int]
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    pixels: dict | None = None

    def read(self, path: str | Path) -> Tensor:
        """An image file as a batch of one, (1, 3, H, W)."""
        return self.prepare(image_to_show(path, self.pixels))

    def prepare(self, image: np.ndarray) -> Tensor:
        """RGB, uint8 (H, W, 3), to a batch of one."""
        image = (resized(image, self.size) - np.float32(self.mean)) / np.float32(self.std)
        device = next(self.module.parameters()).device
        return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].to(device)

    def images(self, paths: Sequence[str | Path]) -> Iterator[Tensor]:
        return map(self.read, paths)


def load_encoder(
    text: str,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
) -> Encoder:
    """An encoder from NAME=CONFIG, NAME=CONFIG,WEIGHTS, NAME=ADAPTER, or NAME=FILE of bare weights
    in SAM's layout or in MAE's.

    Args:
        image_size: Side of the images; by default the config's, or that of the position table.
        mean, std: In place of the config's, or of ImageNet's.

    Raises:
        FileNotFoundError, ValueError: Another notation; no such file; no encoder known of it.
    """
    name, _, source = text.rpartition('=')
    if not name or not source:
        raise ValueError(f'got {text!r}, expected {NOTATION}.')
    first, _, weights = source.partition(',')
    first = str(local_weights(first))
    if is_weights(first) and not weights and not has_header(first):
        module, size = bare_encoder(first)
        prepared, pixels = {}, None
    else:
        model = init_model(first, weights or None, device)
        module, prepared = model.backbone, model.cfg.model.data_preprocessor
        size, pixels = tuple(prepared.size), model.cfg.get('pixels')
    if (channels := getattr(module, 'in_channels', 3)) != 3:
        raise ValueError(f'{name} sees {channels} channels: images of 3 are what is shown here.')
    return Encoder(
        name,
        module.to(default_device(device)).eval().requires_grad_(False),
        (image_size, image_size) if image_size else size,
        mean or prepared.get('mean') or MEAN,
        std or prepared.get('std') or STD,
        pixels,
    )


def has_header(path: str) -> bool:
    """Whether a file of weights is one of ours, which knows its model."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    if path.endswith('.safetensors'):
        return ADAPTER in load_safetensors(path)[1]
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    meta = content.get('meta') if isinstance(content, dict) else None
    carried = carried_header(getattr(content.get('state_dict'), '_metadata', {}).get(''))
    return isinstance(meta, dict) and ADAPTER in meta or bool(carried)


def bare_encoder(path: str) -> tuple[nn.Module, tuple[int, int]]:
    """The encoder in a file of weights, and the size of its position table in pixels."""
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    if isinstance(content, dict) and is_mae(unwrapped(content)):
        mae = read_mae(path)
        height, width = mae.img_size
        return mae, (height, width)
    state = read_sam_checkpoint(path)
    known = {(arch['embed_dim'], arch['depth']): name for name, arch in ARCHS.items()}
    found = guess_arch(state)
    if found not in known:
        raise ValueError(
            f'{path} holds no encoder of a known size (width and depth {found}, known are '
            f'{sorted(known)}): give a config that builds it, {NOTATION}.'
        )
    rows, columns = state['image_encoder.pos_embed'].shape[1:3]
    size = (rows * COMMON['patch_size'], columns * COMMON['patch_size'])
    module = SAMViT(known[found], img_size=size)
    module.load_sam(state, path)
    return module, size
