"""Files that are written completely or not at all."""
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_at_once(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """A name beside ``path`` to write to: the file replaces ``path`` when the block ends, and is
    removed when the block fails.

    The folder is made if need be. Where several processes write one file, the last one wins.

    Args:
        durable: Wait until the disk has the content, so that a power cut leaves no empty file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{uuid.uuid4().hex}.part')  # short, however long the name is
    try:
        yield unfinished
        if durable:
            with unfinished.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_at_once(path: str | os.PathLike, content: bytes, durable: bool = True) -> None:
    """Writes a file completely or not at all."""
    with written_at_once(path, durable) as unfinished:
        unfinished.write_bytes(content)
