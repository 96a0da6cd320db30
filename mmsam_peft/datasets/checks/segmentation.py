"""What is wrong with a set of images and masks, for :func:`check_dataset`."""

from collections import Counter
from collections.abc import Callable
from multiprocessing.pool import ThreadPool

import mmcv.transforms
import mmengine.fileio as fileio
import numpy as np
from mmseg.datasets import BaseSegDataset
from rich.progress import track

from ..image_files import shown_size
from ..transforms.loading import LoadImageFromFile
from ..transforms.masks import LoadMask
from .classes import ClassesSeen, listing
from .loaders import THREADS, loader_of
from .problems import (
    BAD_ANNOTATIONS,
    BAD_IMAGE,
    BAD_MASK,
    CLASSES,
    NO_IMAGE,
    NO_MASK,
    SIZES,
    UNREAD_SETTING,
    VALUES,
    reason,
    short,
    size_text,
)


def segmentation_problems(
    dataset: BaseSegDataset, num_classes: int | None, decode_images: bool
) -> tuple[dict[str, list[str]], dict[str, ClassesSeen], Counter]:
    """Kind of problem -> one line per file that has it; which classes the masks show, if they can
    be read; and how many images there are of each (height, width)."""
    problems, sizes = {}, Counter()
    classes = dataset.metainfo.get('classes') or ()
    if not classes or num_classes not in (None, len(classes)):
        wanted = '' if num_classes is None else f', {num_classes} in the model'
        problems[CLASSES] = [
            f'{len(classes)} in the data set ({short(", ".join(classes))}){wanted}'
        ]

    load_image = loader_of(dataset, LoadImageFromFile, mmcv.transforms.LoadImageFromFile)
    pixels = getattr(load_image, 'pixels', None)

    def size_of(info: dict) -> tuple[int, int]:
        if decode_images:
            return load_image(info)['img'].shape[:2]
        return shown_size(fileio.get(info['img_path']), pixels)

    load_mask = loader_of(dataset, LoadMask, mmcv.transforms.LoadAnnotations)
    encoding = getattr(dataset, 'mask_values', 'index')
    unread = encoding != 'index' and isinstance(load_mask, mmcv.transforms.LoadAnnotations)
    if unread:
        problems[UNREAD_SETTING] = [
            f'{type(load_mask).__name__} in the pipeline, which does not know mask_values='
            f'{short(repr(encoding))}'
        ]

    def inspect(index: int) -> tuple[dict[str, str], np.ndarray, tuple[int, int] | None]:
        return _inspect(dataset.get_data_info(index), size_of, load_mask)

    dataset.full_init()
    for kind, lines in getattr(dataset, 'problems', {}).items():
        problems.setdefault(kind, []).extend(lines)
    allowed = np.isin(np.arange(256), [*range(len(classes)), dataset.ignore_index])
    seen = ClassesSeen('all masks together', len(classes), dataset.ignore_index)
    with ThreadPool(THREADS) as pool:
        results = pool.imap(inspect, range(len(dataset)))
        for index, (found, counts, size) in enumerate(
            track(results, f'Checking {type(dataset).__name__}', total=len(dataset))
        ):
            path = dataset.get_data_info(index).get('seg_map_path')
            if classes and counts[~allowed].any() and not unread:
                found[VALUES] = f'{path}: {listing(counts * ~allowed)}'
            for kind, line in found.items():
                problems.setdefault(kind, []).append(line)
            seen.add(path, counts)
            sizes[size] += 1
    return problems, {} if unread or VALUES in problems else {'': seen}, sizes


def _inspect(
    info: dict, size_of: Callable[[dict], tuple[int, int]], load_mask: Callable[[dict], dict]
) -> tuple[dict[str, str], np.ndarray, tuple[int, int] | None]:
    """The problems of one sample, how many pixels its mask has of each value (256), and the size
    of its image."""
    found, counts = {}, np.zeros(256, dtype=np.int64)
    image_path, mask_path = info['img_path'], info.get('seg_map_path')
    size = mask = None
    try:
        size = size_of(dict(info))
    except FileNotFoundError:
        found[NO_IMAGE] = image_path
    except Exception as error:  # each decoder has its own exceptions
        found[BAD_IMAGE] = f'{image_path}: {reason(error).removeprefix(f"image {image_path}: ")}'
    if mask_path is None:
        return found, counts, size
    try:
        mask = load_mask(dict(info))['gt_seg_map']
        counts = np.bincount(mask.ravel(), minlength=256)
    except FileNotFoundError:
        found[NO_MASK] = f'{image_path} (no {mask_path})'
    except Exception as error:
        kind = BAD_ANNOTATIONS if 'read_mask' in info else BAD_MASK
        found[kind] = f'{mask_path}: {reason(error).removeprefix(f"mask {mask_path}: ")}'
    if size is not None and mask is not None and mask.shape != tuple(size):
        found[SIZES] = f'{mask_path}: {size_text(mask.shape)}, its image {size_text(size)}'
    return found, counts, size
