"""From image files to masks and overlays: read ahead, predicted in batches, written behind."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from rich.progress import track
from torch import nn

from ..datasets.image_files import as_picture
from ..models.segmentors import MultiTaskSegmentor, PEFTSegmentor
from ..models.segmentors.finite_outputs import require_finite_samples
from ..visualization.masks import write_mask, write_overlay
from ..visualization.names import output_names
from ..visualization.panel import panel_items, write_panel
from ..visualization.polygons import write_polygons
from ..visualization.predictions import task_suffix, write_array, write_tasks
from .extras import Extras, background
from .images import common_folder, find_images
from .inference import pipeline_of
from .outputs import OutputFolder, fingerprint

Given = TypeVar('Given')
Made = TypeVar('Made')
PLAIN = Extras()
THREADS = min(4, os.cpu_count() or 1)
"""That read and write while the model computes."""


class Picture(NamedTuple):
    """An image on its way: read, (H, W, 3), RGB, with what the pipeline made of it; then with the
    model's prediction. Or the error that it met."""

    path: Path
    pixels: np.ndarray | None = None
    data: dict | None = None
    error: Exception | None = None
    prediction: SegDataSample | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the network's input; None where there is none."""
        return tuple(self.data['inputs'].shape) if self.data else None


def predict(
    model: nn.Module,
    source: str,
    out_dir: str | Path,
    opacity: float = 0.5,
    batch_size: int | None = None,
    amp: bool = False,
    overwrite: bool = False,
    extras: Extras = PLAIN,
) -> Iterator[tuple[Path, Exception | None]]:
    """Predicts every image of ``source`` and writes ``masks/NAME.png`` (class numbers, with the
    palette) and ``overlays/NAME.png`` into ``out_dir``, showing progress. For a multi-task model it
    writes ``TASK/NAME.png`` for tasks with classes and ``TASK/NAME.npy`` (c, H, W) for the others,
    and ``panels/NAME.png``.

    NAME is the image's path below the folder, or below what the images of a pattern have in common,
    without its suffix; a.jpg and a.png side by side become a.jpg.png and a.png.png.

    While the model computes, threads read the next images and write the last results; few of them
    are in memory at a time. Files are there completely or not at all. A second call with the same
    model and settings goes on where the first one stopped: images that are predicted, and have not
    changed since, are passed over.

    Args:
        opacity: Of the classes over the image.
        batch_size: Images at a time, where successive ones have one size after the test pipeline;
            by default 1 on a CPU, which gains nothing by more, and 4 elsewhere.
        amp: Compute in bfloat16.
        overwrite: Remove first what earlier calls wrote into ``out_dir``.
        extras: Another threshold, and further files: ``probabilities/NAME.npy``, (K, H, W), or (1,
            H, W) of the foreground, float32; ``polygons/NAME.geojson``, see ``write_polygons``.

    Yields:
        Each image, in order, with None, or with the error that it met, whatever it is; the others
        go on.

    Raises:
        FileNotFoundError: No image at ``source``.
        FileExistsError: ``out_dir`` holds predictions of another model or of other images, or other
            files of these names.
        OSError: ``out_dir`` cannot be written.
        ValueError: A batch size below 1; a prediction that would replace an image; extras that the
            model has not.
    """
    device = next(model.parameters()).device
    batch_size = (1 if device.type == 'cpu' else 4) if batch_size is None else batch_size
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size}: at least 1.')
    extras.check(model)
    images = find_images(source)
    pipeline = pipeline_of(model)
    out = OutputFolder(
        Path(out_dir),
        {**output_folders(model), **extras.folders},
        fingerprint(model, opacity=opacity, amp=amp, extras=extras),
        output_names(images, common_folder(images, source)),
        overwrite,
    )
    done = {image for image in images if out.has(image)}
    missing = [image for image in images if image not in done]
    if done:
        print_log(
            f'{len(done)} of {len(images)} images are predicted in {out_dir} already', 'current'
        )
    writers = (
        1 if isinstance(model, MultiTaskSegmentor) else THREADS
    )  # panels are drawn by Matplotlib, which knows no threads
    with ThreadPoolExecutor(THREADS) as reading, ThreadPoolExecutor(writers) as writing:
        read = prefetch(reading, lambda path: load(path, pipeline), missing, 2 * batch_size)
        predicted = (
            picture
            for batch in batches(read, batch_size)
            for picture in predict_batch(model, batch, device, amp, extras)
        )
        written = prefetch(
            writing,
            lambda picture: write(model, picture, out, opacity, extras),
            predicted,
            batch_size,
        )
        shown = iter(track(written, 'Predicting', total=len(missing)))
        for image in images:
            yield image, None if image in done else next(shown).error
        if missing:
            next(shown, None)  # the bar ends, full


def output_folders(model: nn.Module) -> dict[str, str]:
    """The folders of a model's predictions, with the suffix of the files."""
    if isinstance(model, MultiTaskSegmentor):
        return {**{name: task_suffix(task) for name, task in model.tasks.items()}, 'panels': '.png'}
    return dict(masks='.png', overlays='.png')


def prefetch(
    pool: Executor, function: Callable[[Given], Made], items: Iterable[Given], number: int
) -> Iterator[Made]:
    """``map`` in the threads of a pool, in order, at most ``number`` items ahead of what was
    taken."""
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def load(path: Path, pipeline: Compose) -> Picture:
    try:
        read = next(step for step in pipeline.transforms if isinstance(step, LoadImageFromFile))
        pixels = as_picture(read(dict(img_path=str(path)))['img'])
        return Picture(path, pixels, pipeline(dict(img_path=str(path))))
    except Exception as error:  # each decoder and transform has its own
        return Picture(path, error=error.with_traceback(None))  # which would hold the pixels


def reason(error: Exception) -> str:
    """An error in a line."""
    text = ' '.join(str(error).split())[:500]
    return text if isinstance(error, OSError) else f'{type(error).__name__}: {text}'


def batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Successive pictures of one shape, at most ``size`` together: nothing has to be padded."""
    for _, same in groupby(pictures, lambda picture: picture.shape):
        while batch := list(islice(same, size)):
            yield batch


@torch.no_grad()
def predict_batch(
    model: nn.Module,
    batch: list[Picture],
    device: torch.device,
    amp: bool,
    extras: Extras = PLAIN,
) -> list[Picture]:
    """Pictures of one shape, with their predictions; those without data as they are.

    Where a batch fails, such as for lack of memory, its pictures are tried one by one.
    """
    if batch[0].data is None:
        return batch
    data = {key: [picture.data[key] for picture in batch] for key in ('inputs', 'data_samples')}
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            results = model.test_step(data)
        if not isinstance(model, PEFTSegmentor):  # which looks itself
            require_finite_samples(results)
    except Exception as error:
        failed = error.with_traceback(None)  # which would hold what fills the memory
    else:
        failed = None
    if failed and len(batch) > 1:
        return [
            one for picture in batch for one in predict_batch(model, [picture], device, amp, extras)
        ]
    if failed:
        return [Picture(batch[0].path, error=failed)]
    return [
        picture._replace(data=None, prediction=what_is_written(one, extras))
        for picture, one in zip(batch, results, strict=True)
    ]


def what_is_written(sample: SegDataSample, extras: Extras = PLAIN) -> SegDataSample:
    """The predictions, on the CPU; logits, many times larger, do not wait in memory."""
    kept = SegDataSample()
    probabilities = extras.apply(sample)
    if probabilities is not None:
        kept.set_field(PixelData(data=probabilities.cpu()), 'probabilities')
    for name, field in sample.items():
        if name.startswith('pred_'):
            kept.set_field(field.cpu(), name)
    return kept


def write(
    model: nn.Module,
    picture: Picture,
    out: OutputFolder,
    opacity: float,
    extras: Extras = PLAIN,
) -> Picture:
    """Writes what was predicted, if anything was; returns the picture without pixels and
    prediction."""
    path, pixels, _, error, prediction = picture
    if error is not None:
        out.remove(path)
        return picture
    out.note(path, complete=False)
    paths = out.paths(out.images[path])
    try:
        if isinstance(model, MultiTaskSegmentor):
            write_tasks(prediction, model.tasks.values(), paths)
            if 'panels' in paths:
                write_panel(pixels, panel_items(model.tasks.values(), prediction), paths['panels'])
        else:
            mask, palette = prediction.pred_sem_seg.data, model.dataset_meta['palette']
            write_mask(mask, palette, paths['masks'])
            if 'overlays' in paths:
                write_overlay(pixels, mask, palette, paths['overlays'], opacity)
            if extras.probabilities:
                write_array(prediction.probabilities.data, paths['probabilities'])
            if extras.polygons:
                classes = model.dataset_meta.get('classes')
                numbers = mask.squeeze(0).long().numpy()
                write_polygons(numbers, classes, background(model), paths['polygons'])
    except Exception as failed:
        if isinstance(failed, OSError) and failed.errno != errno.ENAMETOOLONG:
            # the disk is full, or the folder cannot be written: the next image would fail too
            raise
        return Picture(path, error=failed.with_traceback(None))
    out.note(path, complete=True)
    return Picture(path)
