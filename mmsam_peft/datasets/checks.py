"""Looks through whole data sets before training and reports everything wrong with them at once."""
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from PIL import Image
from rich.progress import track

from .transforms.masks import LoadMask

THREADS = 4
FILES_LISTED = 5
VALUES_LISTED = 5
EXIF_ORIENTATION, EXIF_QUARTER_TURNS = 0x0112, (5, 6, 7, 8)

NO_IMAGE = 'names without an image'
NO_MASK = 'images without a mask'
ORPHAN_MASK = 'masks without an image'
AMBIGUOUS = 'names with several files'
BAD_IMAGE = 'unreadable images'
BAD_MASK = 'unreadable masks'
SIZES = 'masks of another size than their image'
VALUES = 'masks with values outside the classes'
ONE_CLASS = 'no mask shows any class but the first'
CLASSES = 'class count'

EXPECTED_AND_DO = {
    NO_IMAGE: ('an image for every name of ann_file', 'correct the list or add the images'),
    NO_MASK: ('a mask of the same name for every image', 'add the masks, or remove the images'),
    ORPHAN_MASK: ('an image of the same name for every mask', 'add the images, or remove the masks'),
    AMBIGUOUS: ('one file for each name', 'keep one of them, or narrow img_suffix / seg_map_suffix'),
    BAD_IMAGE: ('complete image files', 'replace or remove them'),
    BAD_MASK: ('complete mask files that mask_values describes', 'replace them, or correct mask_values'),
    SIZES: ('width x height of the image as shown (EXIF rotation applied)', 'export the masks again at that size'),
    VALUES: ('class numbers 0 .. {last}, or {ignore} for ignored pixels',
             "correct the masks or the list of classes; masks stored as 0/255, or as grey JPEG, need mask_values='binary255'"),
    ONE_CLASS: ('pixels of other classes',
                "set mask_values: 'binary255' for masks stored as 0/255, 'binary01' for 0/1; or correct the masks"),
    CLASSES: ('as many classes in the data as in the model', "correct metainfo.classes, or the head's num_classes"),
}


class DatasetError(ValueError):
    """A data set that cannot be trained on or evaluated."""


def check_dataset(dataset: BaseDataset, num_classes: int | None = None, decode_images: bool = True) -> None:
    """Reads every image and mask with the data set's own loaders, showing progress.

    Args:
        dataset: any ``BaseSegDataset``, or wrappers such as ``ConcatDataset`` and ``RepeatDataset`` around some.
        num_classes: the model's number of classes, compared with the data set's.
        decode_images: False reads only the headers of the images: faster, but truncated images stay unnoticed.

    Raises:
        DatasetError: names each kind of problem, the first files that have it and what to do.
    """
    reports = []
    for leaf in _leaves(dataset):
        problems = _problems(leaf, num_classes, decode_images)
        if problems:
            reports.append(_report(leaf, problems))
    if reports:
        raise DatasetError('\n'.join(['the data cannot be used as it is.', *reports]))


def _leaves(dataset: BaseDataset) -> Iterator[BaseSegDataset]:
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _leaves(part)
    elif hasattr(dataset, 'dataset'):
        yield from _leaves(dataset.dataset)
    else:
        yield dataset


def _problems(dataset: BaseSegDataset, num_classes: int | None, decode_images: bool) -> dict[str, list[str]]:
    """Kind of problem -> one line per file that has it."""
    problems = {}
    classes = dataset.metainfo.get('classes') or ()
    if not classes or num_classes not in (None, len(classes)):
        wanted = '' if num_classes is None else f', {num_classes} in the model'
        problems[CLASSES] = [f'{len(classes)} in the data set ({", ".join(classes)}){wanted}']

    load_image = _loader(dataset, LoadImageFromFile)
    size_of = (lambda info: load_image(info)['img'].shape[:2]) if decode_images else _header_size
    load_mask = _loader(dataset, LoadMask, LoadAnnotations)

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


def _loader(dataset: BaseSegDataset, default: type, *others: type) -> Callable[[dict], dict]:
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
        found[BAD_IMAGE] = f'{image_path}: {_reason(error)}'
    if mask_path is None:
        return found, counts
    try:
        mask = load_mask(dict(info))['gt_seg_map']
        counts = np.bincount(mask.ravel(), minlength=256)
    except FileNotFoundError:
        found[NO_MASK] = f'{image_path} (no {mask_path})'
    except Exception as error:
        found[BAD_MASK] = f'{mask_path}: {_reason(error)}'
    if size is not None and mask is not None and mask.shape != tuple(size):
        found[SIZES] = f'{mask_path}: {_size(mask.shape)}, its image {_size(size)}'
    return found, counts


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _size(shape: tuple[int, ...]) -> str:
    height, width, *channels = shape
    return ' x '.join(map(str, [width, height, *channels]))


def _listing(counts: np.ndarray) -> str:
    values = np.flatnonzero(counts)
    listed = ', '.join(f'{value} ({counts[value]} pixels)' for value in values[:VALUES_LISTED])
    return listed + (f' and {len(values) - VALUES_LISTED} other values' if len(values) > VALUES_LISTED else '')


def _report(dataset: BaseSegDataset, problems: dict[str, list[str]]) -> str:
    classes = ', '.join(f'{i} {name}' for i, name in enumerate(dataset.metainfo.get('classes') or ()))
    lines = [f'{type(dataset).__name__}, {len(dataset)} images of {dataset.data_prefix.get("img_path")}, classes: {classes}']
    for kind, got in problems.items():
        expected, do = EXPECTED_AND_DO[kind]
        lines.append(f'  {kind}: {len(got)}' if kind not in (ONE_CLASS, CLASSES) else f'  {kind}')
        lines += [f'    got       {line}' for line in got[:FILES_LISTED]]
        if len(got) > FILES_LISTED:
            lines.append(f'              ... and {len(got) - FILES_LISTED} more')
        last = len(dataset.metainfo.get('classes') or ()) - 1
        lines.append(f'    expected  {expected.format(last=last, ignore=dataset.ignore_index)}')
        lines.append(f'    do        {do}')
    return '\n'.join(lines)
