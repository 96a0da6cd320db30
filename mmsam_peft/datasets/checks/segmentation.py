"""What is wrong with a set of images and masks, for :func:`check_dataset`."""
from collections.abc import Callable
from multiprocessing.pool import ThreadPool

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmseg.datasets import BaseSegDataset
from PIL import Image
from rich.progress import track

from ..transforms.masks import LoadMask
from .loaders import THREADS, loader_of
from .problems import BAD_IMAGE, BAD_MASK, CLASSES, NO_IMAGE, NO_MASK, ONE_CLASS, SIZES, VALUES, reason, size_text

VALUES_LISTED = 5
EXIF_ORIENTATION, EXIF_QUARTER_TURNS = 0x0112, (5, 6, 7, 8)


def segmentation_problems(dataset: BaseSegDataset, num_classes: int | None, decode_images: bool) -> dict[str, list[str]]:
    """Kind of problem -> one line per file that has it."""
    problems = {}
    classes = dataset.metainfo.get('classes') or ()
    if not classes or num_classes not in (None, len(classes)):
        wanted = '' if num_classes is None else f', {num_classes} in the model'
        problems[CLASSES] = [f'{len(classes)} in the data set ({", ".join(classes)}){wanted}']

    load_image = loader_of(dataset, LoadImageFromFile)
    size_of = (lambda info: load_image(info)['img'].shape[:2]) if decode_images else _header_size
    load_mask = loader_of(dataset, LoadMask, LoadAnnotations)

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
