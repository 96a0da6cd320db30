"""From a config and an adapter to masks and overlays."""
import glob
from collections.abc import Iterator
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import MMSegInferencer, inference_model
from mmseg.apis import init_model as mmseg_init_model
from mmseg.visualization import SegLocalVisualizer
from PIL import Image
from rich.progress import track
from torch import nn

from ..datasets.folder import IMAGE_SUFFIXES
from ..models.segmentors import PEFTSegmentor
from ..registry import DATASETS, MODELS, SCOPE
from .adapters import require_adaptable


def init_model(config: str | Path | Config, weights: str | None = None, device: str | None = None,
               cfg_options: dict | None = None) -> nn.Module:
    """A model ready to predict.

    Args:
        config: Path or config.
        weights: An adapter file, whose base weights come from the config's ``model.checkpoint``, or a ``.pth`` checkpoint. None
            leaves the decode head as the base checkpoint has it.
        device: By default the GPU where there is one.

    Raises:
        FileNotFoundError, ValueError: No such file; damaged; made for another model.
    """
    config = Config.fromfile(config) if not isinstance(config, Config) else config.copy()
    config.merge_from_dict(cfg_options or {})
    require_adaptable(config, weights)
    init_default_scope(config.setdefault('default_scope', SCOPE))
    model = mmseg_init_model(config, str(weights) if weights else None, _device(device))
    if weights is None and isinstance(model, PEFTSegmentor):
        model.load_base()
    if not getattr(model, 'dataset_meta', None):
        model.dataset_meta = DATASETS.build({**config.test_dataloader.dataset, 'lazy_init': True}).metainfo
    return model


def inferencer(config: str, weights: str, device: str | None = None, **kwargs) -> MMSegInferencer:
    """MMSegmentation's inferencer in our scope; its own default scope knows none of our modules."""
    require_adaptable(Config.fromfile(config), weights)
    return MMSegInferencer(config, weights, device=_device(device), scope=SCOPE, **kwargs)


def find_images(source: str) -> list[Path]:
    """The images that a file, a folder (searched recursively) or a glob pattern names.

    Raises:
        FileNotFoundError: None.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = path.rglob('*') if path.is_dir() else map(Path, glob.glob(source, recursive=True))
    images = sorted(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise FileNotFoundError(f'No image at {source}: give a file, a folder or a quoted glob pattern of images '
                                f'({" ".join(IMAGE_SUFFIXES)}).')
    return images


def predict(model: nn.Module, source: str, out_dir: str | Path, opacity: float = 0.5) -> Iterator[tuple[Path, Exception | None]]:
    """Predicts every image of ``source`` and writes ``masks/NAME.png`` (class numbers, with the palette) and
    ``overlays/NAME.png`` into ``out_dir``, showing progress.

    Yields:
        Each image with None, or with the error that it met; the others go on.
    """
    images = find_images(source)
    root = Path(source) if Path(source).is_dir() else None
    visualizer = SegLocalVisualizer(alpha=opacity)
    visualizer.dataset_meta = model.dataset_meta
    for image in track(images, 'Predicting'):
        name = (image.relative_to(root) if root else Path(image.name)).with_suffix('.png')
        try:
            sample = inference_model(model, str(image))
        except (OSError, ValueError, TypeError, AttributeError) as error:  # an unreadable image is None to mmcv's transforms
            yield image, error
            continue
        write_mask(sample.pred_sem_seg.data, model.dataset_meta['palette'], Path(out_dir, 'masks', name))
        overlay = Path(out_dir, 'overlays', name)
        overlay.parent.mkdir(parents=True, exist_ok=True)
        visualizer.add_datasample(name.stem, mmcv.imread(str(image), channel_order='rgb'), sample, draw_gt=False,
                                  out_file=str(overlay))
        yield image, None


def write_mask(mask: torch.Tensor, palette: list[list[int]] | None, path: Path) -> None:
    """Writes class numbers (1, H, W) as a PNG, shown in the colours of ``palette``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask.squeeze(0).cpu().numpy().astype(np.uint8), 'P')
    picture.putpalette(np.ravel(palette if palette else [[i] * 3 for i in range(256)]).astype(np.uint8).tolist())
    picture.save(path)


def build_on_meta(config: Config) -> nn.Module:
    """The config's model without memory or weights, to count its parameters."""
    init_default_scope(config.get('default_scope', SCOPE))
    with torch.device('meta'):
        return MODELS.build(config.model)


def _device(device: str | None) -> str:
    return device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
