"""Which images a user means."""
import glob
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..datasets.folder import IMAGE_SUFFIXES
from .outputs import recorded_folders


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
    found = _in_folder(path) if path.is_dir() else _matches(path)
    images = sorted(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise FileNotFoundError(f'No image at {source}: give a file, a folder or a quoted glob pattern of images '
                                f'({" ".join(IMAGE_SUFFIXES)}).')
    return images


def common_folder(images: list[Path], source: str) -> Path:
    """The folder that images are named below."""
    return Path(source) if Path(source).is_dir() else Path(os.path.commonpath([image.parent for image in images]))


def _in_folder(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root, onerror=_stop, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.') and _is_searched(Path(place, name), root)]
        yield from (Path(place, name) for name in files if not name.startswith('.'))


def _matches(pattern: Path) -> Iterator[Path]:
    """The files of a pattern; folders at its beginning may be named like patterns, such as 'd [1]'."""
    root, rest = Path(), list(pattern.parts)
    while len(rest) > 1 and (root / rest[0]).is_dir():
        root /= rest.pop(0)
    searched = cache(lambda folder: _is_searched(folder, root))
    for name in glob.glob(os.path.join(*rest), root_dir=root, recursive=True):
        file = root / name
        if not file.is_dir() and all(searched(root / folder) for folder in Path(name).parents if folder.name):
            yield file


def _is_searched(folder: Path, root: Path) -> bool:
    """Whether a folder below ``root`` is neither one of our outputs nor one that it is in itself."""
    if folder.name in recorded_folders(folder.parent):
        return False
    real = folder.resolve()
    return all((root / above).resolve() != real for above in folder.relative_to(root).parents)


def _stop(error: OSError) -> None:
    raise error
