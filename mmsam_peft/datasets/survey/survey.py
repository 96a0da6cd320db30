"""Looks at images and labels before there is a config: what they are, and what is odd."""

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import track

from ..checks.loaders import THREADS
from ..checks.problems import FILES_LISTED, DatasetError, reason, short, size_text
from ..image_files import open_image
from ..labels.annotations import BACKGROUND, Annotations
from ..transforms.masks import MaskValues, mask_to_classes
from .duplicates import same_content
from .encodings import Encoding, as_said, find_encoding
from .images import ImageFacts, image_facts, needed_pixels
from .looks import MaskLook, look_at
from .objects import MaskFacts, ObjectFacts, facts_of, summarise
from .pairs import Pair, Pairs
from .words import split_of

LOOKED_AT = 1000
"""Images, and their masks, that are read; of larger sets a seeded sample."""
TINY = 64
"""Images with a side below are worth a word."""
MOST_LEFT_OUT = 0.5
"""Share of odd files from which on the way of reading is more likely to be wrong than they are."""

AnnotationParts = Mapping[str | None, Annotations]
"""By part of the split; None where one file has all."""
Given = TypeVar('Given')
Made = TypeVar('Made')


@dataclass
class Survey:
    """A set of images and labels.

    Attributes:
        pairs: what can be used.
        left_out: what cannot, with the reason.
        encoding: how labels are stored, with the classes.
        pixels: the setting of this name; empty where images have 8 bits.
        looked_at: how many images were read.
        sizes, kinds: of images read, by (H, W) and by kind.
        facts: by image, of those read.
        objects: all of them together.
        copies: groups of images of the same content.
        notes: what is worth knowing, in sentences.
    """

    pairs: list[Pair]
    left_out: dict[Path, str]
    encoding: Encoding
    pixels: dict
    looked_at: int
    sizes: Counter[tuple[int, int]]
    kinds: Counter[str]
    facts: dict[Path, MaskFacts]
    objects: ObjectFacts
    copies: list[list[Path]]
    notes: list[str]
    annotations: AnnotationParts = field(default_factory=dict)
    others: str = 'error'
    """What objects of categories that are no class are."""


def survey_masks(
    found: Pairs,
    mask_values: str | None = None,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> Survey:
    """Surveys pairs of images and mask files.

    Args:
        mask_values: how masks are stored, where a person says it.
        bands: of the images, to use; see ``Pixels``.
        seed: of the sample that is read of large sets.

    Raises:
        DatasetError: masks that cannot be what is meant, or most files cannot be used.
    """
    sample = _sample(found.pairs, seed)
    look, unread = MaskLook(), {}
    for pair, one in _in_threads(lambda pair: look_at(pair.mask.read_bytes()), sample, 'Masks'):
        if isinstance(one, Exception):
            unread[pair.image] = f'its mask {pair.mask.name} cannot be read: {reason(one)}'
        else:
            look.join(one)
    if not look.pixels:
        raise DatasetError(f'got no mask that can be read: {next(iter(unread.values()))}')
    encoding = find_encoding(look) if mask_values is None else as_said(mask_values, look)
    readable = [pair for pair in sample if pair.image not in unread]
    read = mask_reader(encoding.mask_values)
    return _survey(found, readable, unread, encoding, read, bands, seed)


def survey_annotations(
    parts: AnnotationParts,
    classes: Sequence[str] | None = None,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> Survey:
    """Surveys images and their annotations.

    Args:
        classes: categories to use, of which all others are background; default: those that are
            seen.
        bands: of the images, to use.
        seed: of the sample that is read of large sets.

    Raises:
        DatasetError: most images cannot be used; categories that are not there.
    """
    names = tuple(classes or dict.fromkeys(n for one in parts.values() for n in one.categories))
    names = names if names[0].lower() in BACKGROUND else ('background', *names)
    others = 'background' if classes else 'error'
    survey = _survey_of_classes(parts, names, others, bands, seed)
    seen = [name for name, count in zip(names, survey.objects.in_images, strict=True) if count]
    if classes or survey.looked_at < len(survey.pairs) or len(seen) in (1, len(names)):
        return survey
    unseen = [name for name in names[1:] if name not in seen]
    kept = (names[0], *(name for name in names[1:] if name in seen))
    survey = _survey_of_classes(parts, kept, 'error', bands, seed)
    survey.notes.append(f'categories without an object are no classes: {short(", ".join(unseen))}')
    return survey


def _survey_of_classes(
    parts: AnnotationParts,
    names: tuple[str, ...],
    others: str,
    bands: Sequence[int] | None,
    seed: int,
) -> Survey:
    chosen = {part: one.select(names, None, others) for part, one in parts.items()}
    found, source = Pairs(), {}
    for part, one in chosen.items():
        for image in one.images:
            split = part or split_of(os.path.relpath(image, one.image_list.folder))
            found.pairs.append(Pair(Path(image), None, split))
            source[Path(image)] = one
    first = next(iter(parts.values()))
    words = first.title if len(parts) == 1 else f'{first.title}, {len(parts)} files'
    encoding = Encoding(None, names, (), words)

    def read(pair: Pair) -> np.ndarray:
        return source[pair.image].mask(str(pair.image))

    sample = _sample(found.pairs, seed)
    survey = _survey(found, sample, {}, encoding, read, bands, seed)
    for one in parts.values():
        survey.notes += one.notes
        survey.notes += [
            f'{kind}: {len(lines)}, such as {lines[0]}' for kind, lines in one.problems.items()
        ]
    survey.annotations, survey.others = dict(parts), others
    return survey


def mask_reader(values: MaskValues) -> Callable[[Pair], np.ndarray]:
    """Reads the class numbers (H, W) of a pair's mask file."""

    def read(pair: Pair) -> np.ndarray:
        with open_image(pair.mask.read_bytes()) as image:
            return mask_to_classes(image, values)

    return read


def _survey(
    found: Pairs,
    sample: Sequence[Pair],
    left_out: dict[Path, str],
    encoding: Encoding,
    read: Callable[[Pair], np.ndarray],
    bands: Sequence[int] | None,
    seed: int,
) -> Survey:
    classes = len(encoding.classes)
    pixels = needed_pixels([pair.image for pair in found.pairs], bands, seed)
    sizes, kinds, turned, tiny, facts = Counter(), Counter(), [], [], {}

    def inspect(pair: Pair) -> tuple[ImageFacts, MaskFacts]:
        image = image_facts(pair.image, pixels)
        mask = read(pair)
        if mask.shape != image.shape:
            raise ValueError(
                f'its mask has {size_text(mask.shape)} pixels, the image as it is shown '
                f'{size_text(image.shape)}'
            )
        if (top := int(mask[mask != 255].max(initial=0))) >= classes:
            raise ValueError(f'its mask holds the class {top} of {classes}')
        return image, facts_of(mask)

    for pair, result in _in_threads(inspect, sample, 'Images and objects'):
        if isinstance(result, Exception):
            left_out[pair.image] = reason(result)
            continue
        image, facts[pair.image] = result
        sizes[image.shape] += 1
        kinds[image.kind] += 1
        turned += [pair.image] if image.turned else []
        tiny += [pair.image] if min(image.shape) < TINY else []
    if len(left_out) > MOST_LEFT_OUT * len(sample):
        raise DatasetError(
            f'{len(left_out)} of {len(sample)} images that were looked at cannot be used:\n'
            f'{_by_reason(left_out)}'
        )
    objects = summarise([*facts.values()], classes)
    if objects.empty == objects.masks:
        raise DatasetError(
            f'all {objects.masks} masks show {encoding.classes[0]} alone, as {encoding.words}; '
            'expected two classes at least: export them again, or say how they are stored: '
            '--mask-values'
        )
    for path in found.without_mask:
        left_out[path] = 'it has no mask'
    pairs = [pair for pair in found.pairs if pair.image not in left_out]
    return Survey(
        pairs=pairs,
        left_out=left_out,
        encoding=encoding,
        pixels=pixels,
        looked_at=len(sample),
        sizes=sizes,
        kinds=kinds,
        facts=facts,
        objects=objects,
        copies=same_content([pair.image for pair in pairs]),
        notes=_notes(found, objects, turned, tiny),
    )


def _notes(
    found: Pairs, objects: ObjectFacts, turned: Sequence[Path], tiny: Sequence[Path]
) -> list[str]:
    notes = []
    if found.without_image:
        notes.append(f'{_files(found.without_image, "mask")} without an image are not used')
    if found.several:
        notes.append(
            f'{len(found.several)} names with several images or masks are not used: '
            f'{found.several[0]}'
        )
    if turned:
        notes.append(f'{_files(turned, "image")} are turned upright by their EXIF data')
    if tiny:
        notes.append(f'{_files(tiny, "image")} have a side below {TINY} pixels')
    if objects.empty:
        notes.append(f'{objects.empty} of {objects.masks} masks are empty: background alone')
    return notes


def _by_reason(left_out: Mapping[Path, str]) -> str:
    """A line for each reason, with its number and an example."""
    files: dict[str, list[Path]] = {}
    for path, why in left_out.items():
        files.setdefault(why, []).append(path)
    lines = [f'  {len(same)} x {why} ({same[0].name})' for why, same in files.items()]
    return '\n'.join(lines[:FILES_LISTED])


def _files(paths: Sequence[Path], what: str) -> str:
    """'3 masks (a.png, b.png, ...)'."""
    listed = ', '.join(path.name for path in paths[:2]) + (', ...' if len(paths) > 2 else '')
    return f'{len(paths)} {what}{"s" * (len(paths) > 1)} ({listed})'


def _sample(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    if len(pairs) <= LOOKED_AT:
        return list(pairs)
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), LOOKED_AT))
    return [pairs[number] for number in chosen]


def _in_threads(
    function: Callable[[Given], Made], items: Sequence[Given], what: str
) -> Iterable[tuple[Given, Made | Exception]]:
    """Each item, in order, with what becomes of it, or with its error; shows progress."""

    def attempt(item: Given) -> Made | Exception:
        try:
            return function(item)
        except Exception as error:  # each decoder has its own
            return error.with_traceback(None)

    with ThreadPool(THREADS) as pool:
        results = pool.imap(attempt, items)
        if sys.stdout.isatty():
            results = track(results, what, total=len(items), transient=True)
        yield from zip(items, results, strict=True)
