"""Folders on disks and in object stores, such as ``s3://bucket/masks``, by fsspec."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ...datasets.files import folders_of, head_of
from ...datasets.folder import IMAGE_SUFFIXES
from ...visualization.names import output_names
from ...whole_files import UNFINISHED, whole_file, write_whole
from ..images import common_folder, find_images
from ..outputs import RECORD

MARKS = ('ETag', 'etag', 'mtime', 'LastModified', 'last_modified', 'updated', 'created')
"""What stores call that which is another when a file has changed, the best first."""


class Image(NamedTuple):
    """An image file to be predicted."""

    place: str
    """Its path, or its address."""
    below: str
    """Its path below the folder that is predicted."""
    name: str
    """That of its predictions below theirs, with the suffix .png."""
    state: str
    """Another one when the image changes."""


class Folder:
    """A folder, on a disk or in a store; files are written completely or not at all.

    Raises:
        ImportError: The store needs a package, which the message names.
        ValueError: Nothing knows such an address.
    """

    def __init__(self, address: str | os.PathLike) -> None:
        self.address = os.fspath(address)
        try:
            self.system, root = url_to_fs(self.address)
        except ImportError as error:
            raise ImportError(f'{self.address}: {error}') from error
        self.root = root.rstrip('/')

    @property
    def is_local(self) -> bool:
        return isinstance(self.system, LocalFileSystem)

    @property
    def name(self) -> str:
        """The same for every way to write the address."""
        return os.path.realpath(self.root) if self.is_local else self.address.rstrip('/')

    def path(self, name: str) -> str:
        return f'{self.root}/{name}'

    def files(self, below: str = '') -> set[str]:
        """The names of all files below this folder, or below one in it."""
        top = f'{self.root}/{below}'.rstrip('/')
        if self.is_local:  # a store's listing says more of each file than a million have room for
            found = [f'{place}/{name}' for place, _, names in os.walk(top) for name in names]
        else:
            self.system.invalidate_cache(top)
            found = self.system.find(top) if self.system.exists(top) else []
        names = {path[len(self.root) + 1 :] for path in found}
        return {name for name in names if not UNFINISHED.fullmatch(name)}

    def read(self, name: str) -> bytes | None:
        """None where there is no such file."""
        try:
            return self.system.cat_file(self.path(name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        if self.is_local:
            write_whole(self.path(name), content)
        else:
            self.system.pipe_file(self.path(name), content)

    def create(self, name: str, content: bytes) -> None:
        """Writes a file if there is none of this name."""
        if not self.is_local:
            if not self.system.exists(self.path(name)):
                self.system.pipe_file(self.path(name), content)
            return
        target = Path(self.path(name))
        with whole_file(target.with_name(f'{target.name}.new')) as unfinished:
            unfinished.write_bytes(content)
            try:
                os.link(unfinished, target)
            except FileExistsError:
                pass
            except OSError:  # a disk without hard links
                if not target.exists():
                    target.write_bytes(content)
        target.with_name(f'{target.name}.new').unlink(missing_ok=True)

    def put(self, path: Path, name: str) -> None:
        """Uploads a file."""
        self.system.put_file(str(path), self.path(name))

    def remove(self, name: str) -> None:
        if self.system.exists(self.path(name)):
            self.system.rm_file(self.path(name))


@contextmanager
def here(image: Image, scratch: Path) -> Iterator[Path]:
    """The image as a file on this machine, while it lasts."""
    if '://' not in image.place:
        yield Path(image.place)
        return
    system, path = url_to_fs(image.place)
    number, name = tempfile.mkstemp(PurePosixPath(image.place).suffix, dir=scratch)
    os.close(number)
    try:
        system.get_file(path, name)
        yield Path(name)
    finally:
        os.unlink(name)


def list_images(source: str) -> tuple[str, list[Image]]:
    """The folder of the images that a file, a folder or a pattern names, here or in a store, and
    the images. Hidden files are left out, and so is what was predicted.

    Raises:
        FileNotFoundError: There are none.
    """
    if '://' in source:
        system, root = url_to_fs(source)
        if not isinstance(system, LocalFileSystem):
            return _in_store(source, system, root)
        source = root
    paths = find_images(source)
    top = common_folder(paths, source)
    names = output_names(paths, top)
    found = [
        Image(
            os.path.abspath(path),
            path.relative_to(top).as_posix(),
            names[path].as_posix(),
            _state_here(path),
        )
        for path in paths
    ]
    return os.path.realpath(top), found


def _in_store(source: str, system: AbstractFileSystem, root: str) -> tuple[str, list[Image]]:
    scheme = source.partition('://')[0]
    system.invalidate_cache()
    listed = system.glob(root, detail=True) if system.isdir(root) is False else {}
    if not listed:
        listed = system.find(root, detail=True)
    paths = [
        PurePosixPath(path)
        for path, about in listed.items()
        if about.get('type', 'file') == 'file'
        and PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
    ]
    predicted = _predicted(system, paths)
    paths = [path for path in paths if predicted.isdisjoint(path.parents)]
    top = PurePosixPath(root)
    if not system.isdir(root) and paths:
        top = PurePosixPath(os.path.commonpath([path.parent for path in paths]))
    paths = sorted(
        path for path in paths if not any(part[0] == '.' for part in path.relative_to(top).parts)
    )
    if not paths:
        raise FileNotFoundError(
            f'No image at {source}: give a file, a folder or a quoted glob pattern of images '
            f'({" ".join(IMAGE_SUFFIXES)}).'
        )
    names = output_names(paths, top)
    images = [
        Image(
            f'{scheme}://{str(path).lstrip("/")}',
            path.relative_to(top).as_posix(),
            names[path].as_posix(),
            _state_there(listed[str(path)]),
        )
        for path in paths
    ]
    return f'{scheme}://{str(top).lstrip("/")}', images


def _predicted(system: AbstractFileSystem, paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """The folders of predictions among those that the paths are in."""
    found = set()
    for place in {above for path in paths for above in path.parent.parents}:
        record = f'{place}/{RECORD}'
        if system.exists(record):
            found |= {place / name for name in folders_of(head_of(system.cat_file(record)))}
    return found


def _state_here(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # such as a link to nothing; reading it will say so
        return ''
    return f'{status.st_size} {status.st_mtime_ns}'


def _state_there(about: dict) -> str:
    mark = next((str(about[key]) for key in MARKS if about.get(key) is not None), '')
    return f'{about.get("size")} {mark}'
