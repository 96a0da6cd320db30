"""Finished rows of class numbers, on the disk, so that a killed prediction goes on."""

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from mmengine.logging import print_log

from ...whole_files import remove_unfinished, write_whole

RECORD, LOCK = 'made_by.json', 'lock'


class Strips:
    """A folder of strips, each whole or not there, from the first row on without gaps. Strips of
    another model, image or setting are removed.

    Args:
        folder: Made if need be.
        made_by: What the strips depend on.
        width: Pixels of a row.

    Raises:
        FileExistsError: Another process is at work there.
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path, made_by: str, width: int) -> None:
        self.folder, self.width = folder, width
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / LOCK, timeout=0)
        try:
            self.lock.acquire()
        except Timeout:
            raise FileExistsError(
                f'{folder} is in use: another process predicts this image. Wait for it, or give '
                'another folder.'
            ) from None
        remove_unfinished(folder)
        record = dict(made_by=made_by)
        if _read(folder / RECORD) != record:
            found = list(folder.glob('rows_*'))
            for path in found:
                path.unlink()
            if found:
                print_log(
                    f'{folder} holds rows of another model, of another state of the image, or with '
                    'other settings: they are removed, and the prediction starts anew',
                    'current',
                )
            write_whole(folder / RECORD, json.dumps(record).encode())

    @property
    def done(self) -> int:
        """How many rows there are."""
        return self._ends()[-1]

    def write(self, first: int, labels: np.ndarray) -> None:
        """Adds the rows (h, width) from ``first`` on."""
        name = f'rows_{first:09}_{first + len(labels):09}'
        write_whole(self.folder / name, zlib.compress(labels, 1))

    def read(self, height: int) -> Iterator[np.ndarray]:
        """All rows, (h, width) at a time, h being ``height`` but at the end."""
        ends, kept = self._ends(), np.empty((0, self.width), np.uint8)
        for first, end in zip(ends, ends[1:], strict=False):
            content = zlib.decompress((self.folder / f'rows_{first:09}_{end:09}').read_bytes())
            new = np.frombuffer(content, np.uint8).reshape(end - first, self.width)
            kept = np.concatenate([kept, new])
            while len(kept) >= height:
                yield kept[:height]
                kept = kept[height:]
        if len(kept):
            yield kept

    def _ends(self) -> list[int]:
        """Where strips end, from 0 on, as far as they follow each other."""
        known = {}
        for path in self.folder.glob('rows_*'):
            first, end = map(int, path.name.split('_')[1:3])
            known[first] = end
        ends = [0]
        while ends[-1] in known:
            ends.append(known[ends[-1]])
        return ends

    def close(self) -> None:
        """Lets other processes in; the strips stay."""
        self.lock.release()

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.folder)


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
