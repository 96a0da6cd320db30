"""From image files to masks and overlays: read ahead, predicted in batches, written behind."""
import glob
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import mmcv
import numpy as np
import torch
from mmengine.dataset import Compose
from mmseg.structures import SegDataSample
from rich.progress import track
from torch import nn

from ..datasets.folder import IMAGE_SUFFIXES
from ..finite import NotFiniteError
from ..models.segmentors import MultiTaskSegmentor, PEFTSegmentor
from ..models.segmentors.finite_outputs import require_finite_samples
from ..tasks import Task
from ..visualization.masks import write_mask, write_overlay
from ..visualization.panel import panel_items, write_panel

Given, Made = TypeVar('Given'), TypeVar('Made')
THREADS = min(4, os.cpu_count() or 1)
"""That read and write while the model computes."""


class Picture(NamedTuple):
    """An image on its way: read, (H, W, 3), RGB, with what the pipeline made of it; then with the model's prediction; or with
    the error that reading or predicting it met."""

    path: Path
    pixels: np.ndarray | None = None
    data: dict | None = None
    error: OSError | NotFiniteError | None = None
    prediction: SegDataSample | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of the network's input; None where there is none."""
        return self.data and tuple(self.data['inputs'].shape)


def predict(model: nn.Module, source: str, out_dir: str | Path, opacity: float = 0.5, batch_size: int | None = None,
            amp: bool = False) -> Iterator[tuple[Path, OSError | NotFiniteError | None]]:
    """Predicts every image of ``source`` and writes ``masks/NAME.png`` (class numbers, with the palette) and
    ``overlays/NAME.png`` into ``out_dir``, showing progress. Of a multi-task model it writes ``TASK/NAME.png`` for tasks with
    classes and ``TASK/NAME.npy`` (c, H, W) for the others, and ``panels/NAME.png``.

    NAME is the image's path below the folder, or below what the images of a pattern have in common, without its suffix;
    a.jpg and a.png side by side become a.jpg.png and a.png.png.

    While the model computes, threads read the next images and write the last results; few of them are in memory at a time.

    Args:
        opacity: Of the classes over the image.
        batch_size: Images at a time, where successive ones have one size after the test pipeline; by default 1 on a CPU, which
            gains nothing by more, and 4 elsewhere.
        amp: Compute in bfloat16.

    Yields:
        Each image, in order, with None, or with the error that reading or predicting it met; the others go on.

    Raises:
        FileNotFoundError: No image at ``source``.
        ValueError: A batch size below 1.
    """
    device = next(model.parameters()).device
    batch_size = (1 if device.type == 'cpu' else 4) if batch_size is None else batch_size
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size}: at least 1.')
    images = find_images(source)
    names, pipeline = output_names(images, source), pipeline_of(model)
    writers = 1 if isinstance(model, MultiTaskSegmentor) else THREADS  # panels are drawn by Matplotlib, which knows no threads
    with ThreadPoolExecutor(THREADS) as reading, ThreadPoolExecutor(writers) as writing:
        read = ahead(reading, lambda path: load(path, pipeline), images, 2 * batch_size)
        predicted = (picture for batch in batches(read, batch_size) for picture in predict_batch(model, batch, device, amp))
        written = ahead(writing, lambda picture: write(model, picture, Path(out_dir), names[picture.path], opacity), predicted,
                        batch_size)
        for picture in track(written, 'Predicting', total=len(images)):
            yield picture.path, picture.error


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


def output_names(images: Sequence[Path], source: str) -> dict[Path, Path]:
    """What each image's results are called."""
    root = source if Path(source).is_dir() else os.path.commonpath([image.parent for image in images])
    same_name = Counter(image.with_suffix('') for image in images)
    suffixes = {image: image.suffix if same_name[image.with_suffix('')] > 1 else '' for image in images}
    return {image: image.relative_to(root).with_suffix(f'{suffixes[image]}.png') for image in images}


def pipeline_of(model: nn.Module) -> Compose:
    """The test pipeline of the model's config, without labels."""
    return Compose([step for step in model.cfg.test_pipeline if step.type != 'LoadAnnotations'])


def ahead(pool: Executor, function: Callable[[Given], Made], items: Iterable[Given], number: int) -> Iterator[Made]:
    """``map`` in the threads of a pool, in order, at most ``number`` items ahead of what was taken."""
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def load(path: Path, pipeline: Compose) -> Picture:
    try:
        pixels = read_image(path)
    except OSError as error:
        return Picture(path, error=error)
    return Picture(path, pixels, pipeline(dict(img_path=str(path))))


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3), RGB. OSError when there is no whole image in the file."""
    try:
        image = mmcv.imread(str(path), channel_order='rgb')
    except cv2.error:  # an empty file
        image = None
    if image is None:
        raise OSError('not a readable image: it may be truncated; copy it again')
    return image


def batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Successive pictures of one shape, at most ``size`` together: nothing has to be padded."""
    for _, same in groupby(pictures, lambda picture: picture.shape):
        while batch := list(islice(same, size)):
            yield batch


@torch.no_grad()
def predict_batch(model: nn.Module, batch: list[Picture], device: torch.device, amp: bool) -> list[Picture]:
    """Pictures of one shape, with their predictions, or with the error that theirs are not finite; those without data as they
    are."""
    if batch[0].data is None:
        return batch
    data = {key: [picture.data[key] for picture in batch] for key in ('inputs', 'data_samples')}
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            results = model.test_step(data)
        if not isinstance(model, PEFTSegmentor):  # which looks itself
            require_finite_samples(results)
    except NotFiniteError as error:
        if len(batch) == 1:
            return [batch[0]._replace(data=None, error=error)]
        return [picture for one in batch for picture in predict_batch(model, [one], device, amp)]
    return [picture._replace(data=None, prediction=what_is_written(one)) for picture, one in zip(batch, results, strict=True)]


def what_is_written(sample: SegDataSample) -> SegDataSample:
    """The predictions, on the CPU; logits, many times larger, do not wait in memory."""
    kept = SegDataSample()
    for name, field in sample.items():
        if name.startswith('pred_'):
            kept.set_field(field.cpu(), name)
    return kept


def write(model: nn.Module, picture: Picture, folder: Path, name: Path, opacity: float) -> Picture:
    """Writes what was predicted, if anything was; returns the picture without pixels and prediction."""
    _, pixels, _, error, prediction = picture
    if error is None and isinstance(model, MultiTaskSegmentor):
        write_tasks(pixels, prediction, model.tasks, folder, name)
    elif error is None:
        mask, palette = prediction.pred_sem_seg.data, model.dataset_meta['palette']
        write_mask(mask, palette, folder / 'masks' / name)
        write_overlay(pixels, mask, palette, folder / 'overlays' / name, opacity)
    return Picture(picture.path, error=error)


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
