"""Which images a user means."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from ..datasets.files import recorded_folders
from ..datasets.folder import IMAGE_SUFFIXES
from ..datasets.pixels.foreign import advice


def find_images(source: str) -> list[Path]:
    """The images that a file, a folder (searched recursively) or a glob pattern names.

    Hidden files and folders are left out, and so is what ``predict`` has written. Links to folders
    are followed, except back to a folder that they are in.

    Raises:
        FileNotFoundError: None.
        OSError: A folder cannot be read.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [place / name for place, names in _in_folder(path, path) for name in names]
    else:
        found = list(_matches(path))
    images = sorted(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        said = advice({file.suffix for file in found})
        raise FileNotFoundError(
            f'No image at {source}: give a file, a folder or a quoted glob pattern of images '
            f'({" ".join(IMAGE_SUFFIXES)}).{said and f" {said}."}'
        )
    return images


def common_folder(images: list[Path], source: str) -> Path:
    """The folder that images are named below."""
    return (
        Path(source)
        if Path(source).is_dir()
        else Path(os.path.commonpath([image.parent for image in images]))
    )


def _in_folder(top: Path, root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from ``top`` on, with the names of its files."""
    for place, folders, files in os.walk(top, onerror=_stop, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith('.') and _is_searched(Path(place, name), root)
        ]
        yield Path(place), [name for name in files if not name.startswith('.')]


def _matches(pattern: Path) -> set[Path]:
    """The files of a pattern; folders at its beginning may be named like patterns, such as 'd
    [1]'."""
    root, rest = Path(), list(pattern.parts)
    while len(rest) > 1 and (root / rest[0]).is_dir():
        root /= rest.pop(0)
    return set(_expand(root, rest, root))


def _expand(folder: Path, parts: list[str], root: Path) -> Iterator[Path]:
    """As ``glob`` does, which would run for ever where links to folders form loops."""
    first, *rest = parts
    if first == '**':
        for place, _ in _in_folder(folder, root):
            yield from _expand(place, rest or ['*'], root)
        return
    for path in folder.iterdir():
        if not fnmatch(path.name, first) or path.name.startswith('.') and not first.startswith('.'):
            continue
        if not path.is_dir():
            yield from [] if rest else [path]
        elif rest and _is_searched(path, root):
            yield from _expand(path, rest, root)


def _is_searched(folder: Path, root: Path) -> bool:
    """Whether a folder below ``root`` is neither one of our outputs nor one that it is in
    itself."""
    if folder.name in recorded_folders(folder.parent):
        return False
    real = folder.resolve()
    return all((root / above).resolve() != real for above in folder.relative_to(root).parents)


def _stop(error: OSError) -> None:
    raise error
