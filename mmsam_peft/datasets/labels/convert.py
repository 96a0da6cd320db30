"""Annotations as masks of class numbers, a PNG for each image."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.progress import track

from ...whole_files import whole_file, write_whole
from ..checks.problems import DatasetError, reason, short
from .annotations import Annotations
from .voc import palette_colour

CLASSES = 'classes.txt'
MADE_FROM = 'made from'
"""The text in a PNG that says what it was made from."""
THREADS = 4
LISTED = 5


def write_masks(
    annotations: Annotations, classes: Sequence[str], out: Path, overwrite: bool = False
) -> list[str]:
    """Writes ``out/NAME.png``, NAME being the image's path below its folder without suffix, and the
    names of the classes, a line each, as ``out/classes.txt``. Goes on where it was stopped: what is
    there and made from the same stays.

    Args:
        classes: as of :meth:`Annotations.select`, which was called.
        overwrite: replace masks that were made from something else.

    Returns:
        What could not be written, a line for each image.

    Raises:
        DatasetError: files that are in the way, or images of one name. Nothing was written.
    """
    folder = annotations.image_list.folder
    if out.resolve() == folder.resolve():
        raise DatasetError(f'{out} is the folder of the images, expected another one for the masks')
    targets = {image: _target(image, folder, out) for image in annotations.images}
    _require_own_names(targets)
    names = ''.join(f'{name}\n' for name in classes).encode()
    states = {image: _state(annotations, image) for image in targets}
    made = {image: _made_from(target) for image, target in targets.items()}
    in_the_way = [targets[image] for image in targets if made[image] not in (None, states[image])]
    if (out / CLASSES).exists() and (out / CLASSES).read_bytes() != names:
        in_the_way.append(out / CLASSES)
    if in_the_way and not overwrite:
        listed = ', '.join(map(str, in_the_way[:LISTED]))
        raise DatasetError(
            f'{len(in_the_way)} files were made from other annotations or classes, or by something '
            f'else: {listed}. Name another folder, or give --overwrite to replace them'
        )
    write_whole(out / CLASSES, names)
    missing = [image for image in targets if made[image] != states[image]]

    def write(image: str) -> str | None:
        try:
            mask = annotations.mask(image)
        except Exception as error:  # each decoder has its own
            targets[image].unlink(missing_ok=True)  # of other classes: overwrite
            return f'{annotations.place(image)}: {reason(error)}'
        _write(mask, targets[image], states[image])
        return None

    with ThreadPool(THREADS) as pool:
        results = track(pool.imap(write, missing), 'Writing masks', total=len(missing))
        return [fault for fault in results if fault]


def _target(image: str, folder: Path, out: Path) -> Path:
    return (out / os.path.relpath(image, folder)).with_suffix('.png')


def _require_own_names(targets: dict[str, Path]) -> None:
    images = defaultdict(list)
    for image, target in targets.items():
        images[target].append(image)
    if shared := [', '.join(same) for same in images.values() if len(same) > 1]:
        raise DatasetError(
            f'{len(shared)} masks would be of several images that differ in their suffix alone: '
            f'{short("; ".join(shared[:LISTED]))}. Rename the images'
        )


def _state(annotations: Annotations, image: str) -> str:
    """What a mask depends on, as a hash."""
    files = [(path, os.stat(path)) for path in annotations.files(image)]
    known = [(Path(path).name, status.st_size, status.st_mtime_ns) for path, status in files]
    content = json.dumps([annotations.format, annotations.values(), known], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _made_from(path: Path) -> str | None:
    """None when there is no file, '' when it is none of ours."""
    try:
        with Image.open(path) as image:
            return getattr(image, 'text', {}).get(MADE_FROM, '')
    except FileNotFoundError:
        return None
    except Exception:  # no image
        return ''


def _write(mask: np.ndarray, path: Path, state: str) -> None:
    image, info = Image.fromarray(mask), PngInfo()
    image.putpalette([value for number in range(256) for value in palette_colour(number)])
    info.add_text(MADE_FROM, state)
    with whole_file(path, durable=False) as unfinished:
        image.save(unfinished, 'PNG', pnginfo=info)
