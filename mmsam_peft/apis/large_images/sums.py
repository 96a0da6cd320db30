"""Sums of logits that wait for further windows."""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

MOST = 256 * 2**20
"""Bytes in memory."""


class Sums:
    """Float32 arrays by key, up to ``most`` bytes in memory, the others in a file without a name,
    which vanishes with the process.

    Args:
        folder: Where the file is.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self.most, self.bytes = folder, most, 0
        self.near: dict[tuple, np.ndarray] = {}
        self.far: dict[tuple, tuple[int, tuple[int, ...]]] = {}
        self.file, self.end = None, 0
        self.free: dict[int, list[int]] = defaultdict(list)

    def add(self, key: tuple, values: np.ndarray) -> None:
        """Adds ``values``, which are kept, to what is there of the key."""
        there = self.pop(key)
        if there is not None:
            values = np.add(there, values, out=there)
        if self.bytes + values.nbytes <= self.most:
            self.near[key] = np.ascontiguousarray(values)
            self.bytes += values.nbytes
        else:
            self._write(key, values)

    def pop(self, key: tuple) -> np.ndarray | None:
        """What is there of the key, which is forgotten."""
        if (values := self.near.pop(key, None)) is not None:
            self.bytes -= values.nbytes
            return values
        if key not in self.far:
            return None
        place, shape = self.far.pop(key)
        values = np.empty(shape, np.float32)
        self.file.seek(place)
        if self.file.readinto(values.data.cast('B')) != values.nbytes:
            raise OSError(f'{self.folder}: a temporary file is shorter than what was written.')
        self.free[values.nbytes].append(place)
        return values

    def _write(self, key: tuple, values: np.ndarray) -> None:
        if self.file is None:
            self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        if self.free[values.nbytes]:
            place = self.free[values.nbytes].pop()
        else:
            place, self.end = self.end, self.end + values.nbytes
        self.file.seek(place)
        left = memoryview(np.ascontiguousarray(values)).cast('B')
        while left:
            left = left[self.file.write(left) :]
        self.far[key] = place, values.shape

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
