"""Writing files completely or not at all.

A process that is killed, or a disk that is full, while a file is written leaves half of it. Here a
file is written beside its place and put there when it is whole and on the disk. Importing
``mmsam_peft`` gives MMEngine this way of writing too, so that a checkpoint is the old one or the
new one at any moment.
"""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.io import backend_instances

UNFINISHED = re.compile(r'.*\.unfinished-[0-9a-f]{32}')
LONGEST = 200  # bytes of a name that are kept; file systems take 255


@contextmanager
def whole_file(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """``with whole_file(path) as unfinished:`` write to ``unfinished``; in the end that file
    replaces ``path``. The folder is made if need be. Where several processes write one file, the
    last one wins.

    Args:
        durable: Wait until the disk has the content, so that a power cut leaves no empty file.

    Raises:
        OSError: It could not be written; ``path`` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name if len(os.fsencode(path.name)) <= LONGEST else ''
    unfinished = path.with_name(f'{name}.unfinished-{uuid.uuid4().hex}')
    try:
        yield unfinished
        if durable:
            _to_disk(unfinished)
        os.replace(unfinished, path)
        if durable:
            with suppress(OSError):  # some file systems cannot
                _to_disk(path.parent)
    except OSError as error:
        kept = (
            f'The {path.name} that was there is unchanged.'
            if path.exists()
            else 'Nothing was left behind.'
        )
        raise OSError(
            error.errno, f'{path} could not be written: {error.strerror or error}. {kept}'
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: bytes, durable: bool = True) -> None:
    """Writes a file completely or not at all."""
    with whole_file(path, durable) as unfinished:
        unfinished.write_bytes(content)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Removes what killed processes left in ``folder``; to be called where no other process
    writes."""
    for path in Path(folder).glob('*.unfinished-*'):
        if UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


class WholeFileBackend(LocalBackend):
    """MMEngine's way to local files, with whole files only."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with whole_file(filepath) as unfinished:
            super().put(obj, unfinished)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        with whole_file(filepath) as unfinished:
            super().put_text(obj, unfinished, encoding)


def register() -> None:
    """Makes MMEngine write every local file through this one."""
    register_backend('local', WholeFileBackend, prefixes='', force=True)
    backend_instances.clear()  # those made before


def _to_disk(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
