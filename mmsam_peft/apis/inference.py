"""From a config and an adapter to masks and overlays."""
import glob
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import MMSegInferencer, inference_model
from mmseg.apis import init_model as mmseg_init_model
from mmseg.structures import SegDataSample
from PIL import Image
from rich.progress import track
from torch import Tensor, nn

from ..datasets.folder import IMAGE_SUFFIXES
from ..models.segmentors import MultiTaskSegmentor, PEFTSegmentor
from ..registry import DATASETS, MODELS, SCOPE
from ..tasks import Task
from ..tasks.panel import panel_items, write_panel
from .adapters import is_adaptable, require_adaptable

Palette = list[list[int]] | None


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


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3), RGB. OSError when there is no whole image in the file."""
    try:
        image = mmcv.imread(str(path), channel_order='rgb')
    except cv2.error:  # an empty file
        image = None
    if image is None:
        raise OSError('not a readable image: it may be truncated; copy it again')
    return image


def predict(model: nn.Module, source: str, out_dir: str | Path, opacity: float = 0.5) -> Iterator[tuple[Path, OSError | None]]:
    """Predicts every image of ``source`` and writes ``masks/NAME.png`` (class numbers, with the palette) and
    ``overlays/NAME.png`` into ``out_dir``, showing progress. Of a multi-task model it writes ``TASK/NAME.png`` for tasks with
    classes and ``TASK/NAME.npy`` (c, H, W) for the others, and ``panels/NAME.png``.

    NAME is the image's path below the folder, or below what the images of a pattern have in common, without its suffix;
    a.jpg and a.png side by side become a.jpg.png and a.png.png.

    Yields:
        Each image with None, or with the error that reading it met; the others go on.
    """
    images = find_images(source)
    root = source if Path(source).is_dir() else os.path.commonpath([image.parent for image in images])
    same_name = Counter(image.with_suffix('') for image in images)
    for image in track(images, 'Predicting'):
        suffix = image.suffix if same_name[image.with_suffix('')] > 1 else ''
        name = image.relative_to(root).with_suffix(f'{suffix}.png')
        try:
            pixels = read_image(image)
        except OSError as error:
            yield image, error
            continue
        result = inference_model(model, str(image))
        if isinstance(model, MultiTaskSegmentor):
            write_tasks(pixels, result, model.tasks, Path(out_dir), name)
        else:
            mask, palette = result.pred_sem_seg.data, model.dataset_meta['palette']
            write_mask(mask, palette, Path(out_dir, 'masks', name))
            write_overlay(pixels, mask, palette, Path(out_dir, 'overlays', name), opacity)
        yield image, None


def write_tasks(image: np.ndarray, result: SegDataSample, tasks: dict[str, Task], folder: Path, name: Path) -> None:
    """Writes what a model says of an image (H, W, 3), RGB, task by task, and a panel of it all."""
    for task in tasks.values():
        prediction = result.get(f'pred_{task.name}').data
        path = folder / task.name / name
        if prediction.is_floating_point():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path.with_suffix('.npy'), prediction.float().cpu().numpy())
        else:
            write_mask(prediction, task.palette.tolist(), path)
    write_panel(image, panel_items(tasks.values(), result), folder / 'panels' / name)


def write_mask(mask: Tensor, palette: Palette, path: Path) -> None:
    """Writes class numbers (1, H, W) as a PNG, shown in the colours of ``palette``, by default greys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask.squeeze(0).cpu().numpy().astype(np.uint8))
    picture.putpalette(_colours(palette).ravel().tolist())
    picture.save(path)


def write_overlay(image: np.ndarray, mask: Tensor, palette: Palette, path: Path, opacity: float = 0.5) -> None:
    """Writes an image (H, W, 3), RGB, with the colours of its classes (1, H, W) laid over it; black classes are left clear."""
    colours = _colours(palette)[mask.squeeze(0).long().cpu().numpy()]
    blended = np.where(colours.any(-1, keepdims=True), cv2.addWeighted(image, 1 - opacity, colours, opacity, 0), image)
    mmcv.imwrite(mmcv.rgb2bgr(blended), str(path))


def build_to_count(config: Config) -> nn.Module:
    """The config's model without weights, to count its parameters; ours takes no memory (meta device)."""
    init_default_scope(config.get('default_scope', SCOPE))
    with torch.device('meta' if is_adaptable(config) else 'cpu'):  # some of MMSegmentation's read values while being built
        return MODELS.build(config.model)


def _colours(palette: Palette) -> np.ndarray:
    return np.array(palette or [[i] * 3 for i in range(256)], dtype=np.uint8)


def _device(device: str | None) -> str:
    return device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
