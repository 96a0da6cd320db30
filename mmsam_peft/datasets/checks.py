"""Looks through whole data sets before training and reports everything wrong with them at once."""
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.pool import ThreadPool

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from PIL import Image
from rich.progress import track

from mmsam_peft.tasks import Task

from .problems import (
    BAD_IMAGE,
    BAD_MASK,
    CLASSES,
    NO_IMAGE,
    NO_MASK,
    ONE_CLASS,
    SIZES,
    VALUES,
    DatasetError,
    reason,
    report,
    size_text,
)
from .transforms.masks import LoadMask

THREADS = 4
VALUES_LISTED = 5
EXIF_ORIENTATION, EXIF_QUARTER_TURNS = 0x0112, (5, 6, 7, 8)


def check_dataset(dataset: BaseDataset, num_classes: int | None = None, decode_images: bool = True,
                  tasks: Mapping[str, Task] | None = None) -> None:
    """Reads every image and label with the data set's own loaders, showing progress.

    Args:
        dataset: any ``BaseSegDataset`` or ``MultiTaskDataset``, or wrappers such as ``ConcatDataset`` and ``RepeatDataset``
            around some.
        num_classes: the model's number of classes, compared with the data set's; not for sets of several tasks.
        decode_images: False reads only the headers of the images: faster, but truncated images stay unnoticed; not for sets of
            several tasks.
        tasks: the model's tasks by name, compared with the data set's.

    Raises:
        DatasetError: names each kind of problem, the first files that have it and what to do.
    """
    reports, known = [], set()
    for leaf in leaves(dataset):
        if hasattr(leaf, 'find_problems'):
            known.update(task.name for task in leaf.tasks)
            problems = leaf.find_problems(tasks or {})
        else:
            problems = _problems(leaf, num_classes, decode_images)
        if problems:
            reports.append(report(leaf, problems))
    if lost := [str(task) for name, task in (tasks or {}).items() if name not in known]:
        reports.append(f'tasks of the model that the data does not have: {", ".join(lost)}. List the same tasks in both.')
    if reports:
        raise DatasetError('\n'.join(['the data cannot be used as it is.', *reports]))


def leaves(dataset: BaseDataset) -> Iterator[BaseSegDataset]:
    """The data sets inside of wrappers such as ``ConcatDataset``."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from leaves(part)
    elif hasattr(dataset, 'dataset'):
        yield from leaves(dataset.dataset)
    else:
        yield dataset


def _problems(dataset: BaseSegDataset, num_classes: int | None, decode_images: bool) -> dict[str, list[str]]:
    """Kind of problem -> one line per file that has it."""
    problems = {}
    classes = dataset.metainfo.get('classes') or ()
    if not classes or num_classes not in (None, len(classes)):
        wanted = '' if num_classes is None else f', {num_classes} in the model'
        problems[CLASSES] = [f'{len(classes)} in the data set ({", ".join(classes)}){wanted}']

    load_image = loader(dataset, LoadImageFromFile)
    size_of = (lambda info: load_image(info)['img'].shape[:2]) if decode_images else _header_size
    load_mask = loader(dataset, LoadMask, LoadAnnotations)

    def inspect(index: int) -> tuple[dict[str, str], np.ndarray]:
        return _inspect(dataset.get_data_info(index), size_of, load_mask)

    dataset.full_init()
    for kind, lines in getattr(dataset, 'problems', {}).items():
        problems.setdefault(kind, []).extend(lines)
    allowed = np.isin(np.arange(256), [*range(len(classes)), dataset.ignore_index])
    total = np.zeros(256, dtype=np.int64)
    with ThreadPool(THREADS) as pool:
        results = pool.imap(inspect, range(len(dataset)))
        for index, (found, counts) in enumerate(track(results, f'Checking {type(dataset).__name__}', total=len(dataset))):
            if classes and counts[~allowed].any():
                found[VALUES] = f'{dataset.get_data_info(index)["seg_map_path"]}: {_listing(counts * ~allowed)}'
            for kind, line in found.items():
                problems.setdefault(kind, []).append(line)
            total += counts
    if VALUES not in problems and len(classes) > 1 and total.any() and not total[1:len(classes)].any():
        problems[ONE_CLASS] = [f'all masks together: {_listing(total)}']
    return problems


def loader(dataset: BaseSegDataset, default: type, *others: type) -> Callable[[dict], dict]:
    used = [step for step in dataset.pipeline.transforms if isinstance(step, (default, *others))]
    return used[0] if used else default()


def _header_size(info: dict) -> tuple[int, int]:
    with Image.open(info['img_path']) as image:
        turned = image.getexif().get(EXIF_ORIENTATION) in EXIF_QUARTER_TURNS
        return image.size if turned else image.size[::-1]


def _inspect(info: dict, size_of: Callable[[dict], tuple[int, int]],
             load_mask: Callable[[dict], dict]) -> tuple[dict[str, str], np.ndarray]:
    """The problems of one sample, and how many pixels its mask has of each value (256)."""
    found, counts = {}, np.zeros(256, dtype=np.int64)
    image_path, mask_path = info['img_path'], info.get('seg_map_path')
    size = mask = None
    try:
        size = size_of(dict(info))
    except FileNotFoundError:
        found[NO_IMAGE] = image_path
    except Exception as error:  # each decoder has its own exceptions
        found[BAD_IMAGE] = f'{image_path}: {reason(error)}'
    if mask_path is None:
        return found, counts
    try:
        mask = load_mask(dict(info))['gt_seg_map']
        counts = np.bincount(mask.ravel(), minlength=256)
    except FileNotFoundError:
        found[NO_MASK] = f'{image_path} (no {mask_path})'
    except Exception as error:
        found[BAD_MASK] = f'{mask_path}: {reason(error)}'
    if size is not None and mask is not None and mask.shape != tuple(size):
        found[SIZES] = f'{mask_path}: {size_text(mask.shape)}, its image {size_text(size)}'
    return found, counts


def _listing(counts: np.ndarray) -> str:
    values = np.flatnonzero(counts)
    listed = ', '.join(f'{value} ({counts[value]} pixels)' for value in values[:VALUES_LISTED])
    return listed + (f' and {len(values) - VALUES_LISTED} other values' if len(values) > VALUES_LISTED else '')
