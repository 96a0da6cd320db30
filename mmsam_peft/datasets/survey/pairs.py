"""Which mask belongs to which image."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..checks.problems import DatasetError
from ..files import composed, files_below
from ..folder import IMAGE_SUFFIXES, MASK_SUFFIXES
from .encodings import ObjectMasksError
from .words import (
    IMAGE_WORDS,
    MASK_WORDS,
    names_a_mask,
    role_of,
    same_place,
    same_words,
    split_of,
    stem_of,
)

Key = Callable[[str], str]


@dataclass(frozen=True)
class Pair:
    """An image and its mask; ``split`` where the folders say which part they belong to."""

    image: Path
    mask: Path | None = None
    split: str | None = None


@dataclass
class Pairs:
    """What belongs together, and what nothing was found for."""

    pairs: list[Pair] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    several: list[str] = field(default_factory=list)
    """Images with several masks, or masks of several images, as text."""


def find_pairs(images: Path, masks: Path | None = None) -> Pairs:
    """Pairs the files of two folders by name, or those of one folder that holds both.

    Folders such as img_dir, masks or gt say what a file is; where none does, its name does, as in
    a_mask.png. Names are compared with their folders and without, as they are and without words
    such as 'mask'; the way that finds most pairs is taken, the strictest of equals.

    Raises:
        DatasetError: no such folder; no images; no two names that belong together.
    """
    both = masks is None or images.resolve() == masks.resolve()
    masks = images if masks is None else masks
    image_files, mask_files = (
        by_role(images)
        if both
        else (
            _files(images, IMAGE_SUFFIXES, but=masks),
            _files(masks, MASK_SUFFIXES, but=images),
        )
    )
    if not image_files:
        raise DatasetError(
            f'got {images}, in which there are no images, expected files ending in '
            f'{" ".join(IMAGE_SUFFIXES)}: name the folder that holds them'
        )
    if not mask_files:
        return Pairs(without_mask=[images / file for file in image_files])
    image_key, mask_key = max(_ways(), key=lambda way: _matches(way, image_files, mask_files))
    by_key, fitting = _group(image_files, image_key), _group(mask_files, mask_key)
    found = Pairs()
    for key, same in by_key.items():
        own = fitting.get(key, [])
        if not own:
            found.without_mask += [images / file for file in same]
        elif len(same) == len(own) == 1:
            split = split_of(same[0]) or split_of(own[0])
            found.pairs.append(Pair(images / same[0], masks / own[0], split))
        else:
            found.several.append(f'{", ".join(same[:3])}: {", ".join(own[:3])}')
    found.without_image = [
        masks / file for key, own in fitting.items() if key not in by_key for file in own
    ]
    if not found.pairs and not found.several:
        raise DatasetError(
            f'no image has a mask of its name: got images such as {_some(image_files)} in {images} '
            f'and masks such as {_some(mask_files)} in {masks}, expected names that differ by '
            "words such as 'image' and 'mask' at most: rename them, or name the folders that "
            'belong together'
        )
    if not found.pairs:
        raise ObjectMasksError(
            f'each image has several masks, such as {found.several[0]}, expected one with all '
            'classes'
        )
    found.pairs.sort(key=lambda pair: pair.image)
    return found


def by_role(folder: Path) -> tuple[list[str], list[str]]:
    """The images and the masks of one folder, by the words of their paths."""
    suffixes = tuple({*IMAGE_SUFFIXES, *MASK_SUFFIXES})
    files = _files(folder, suffixes)
    roles = {file: role_of(file) for file in files}
    if not any(roles.values()):
        named = {file for file in files if names_a_mask(stem_of(PurePosixPath(file).name))}
        if len(named) < len(files):
            roles = {file: 'mask' if file in named else 'image' for file in files}
    wanted = ('image',) if 'image' in roles.values() else (None,)
    images = [file for file in files if roles[file] in wanted and _ends(file, IMAGE_SUFFIXES)]
    return images, [file for file in files if roles[file] == 'mask' and _ends(file, MASK_SUFFIXES)]


def _ways() -> list[tuple[Key, Key]]:
    """From strict to lax: the key of an image and that of its mask."""

    def image_words(file: str) -> str:
        return same_words(file, IMAGE_WORDS)

    def mask_words(file: str) -> str:
        return same_words(file, MASK_WORDS)

    ways: list[tuple[Key, Key]] = [(same_place, same_place), (image_words, mask_words)]
    return ways + [(_without_folders(one), _without_folders(other)) for one, other in ways]


def _without_folders(key: Key) -> Key:
    return lambda file: key(file).rpartition('/')[2]


def _matches(way: tuple[Key, Key], images: Sequence[str], masks: Sequence[str]) -> int:
    """How many images have one mask, and it one image."""
    by_key, fitting = _group(images, way[0]), _group(masks, way[1])
    return sum(len(same) == len(fitting.get(key, [])) == 1 for key, same in by_key.items())


def _group(files: Sequence[str], key: Key) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for file in files:
        groups[composed(key(file))].append(file)
    return groups


def _files(folder: Path, suffixes: Sequence[str], but: Path | None = None) -> list[str]:
    """Files below a folder with one of the suffixes; without those below ``but``, where it lies in
    the folder."""
    try:
        files = [file for file in files_below(folder) if _ends(file, suffixes)]
    except FileNotFoundError:
        raise DatasetError(
            f'got {folder.absolute()}, which is no folder, expected one of images or masks: '
            'correct the path'
        ) from None
    if but is not None and but.resolve().is_relative_to(folder.resolve()):
        inside = but.resolve().relative_to(folder.resolve()).as_posix() + '/'
        files = [file for file in files if not file.startswith(inside)]
    return files


def _ends(file: str, suffixes: Sequence[str]) -> bool:
    return file.lower().endswith(tuple(suffixes))


def _some(files: Sequence[str]) -> str:
    return ', '.join(files[:2])
