"""Items on disk that can be made again: a cache.

The folder is trusted: the checksum finds accidents, not forgeries, and whoever may write to the
folder may change what is trained. No file in it can run code.
"""

import zlib
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.logging import print_log

from ..whole_files import write_whole


class ItemStore:
    """Items in a folder, a file each. Several processes may read and write it at the same time.

    A kind of store says what an item is: ``pack`` and ``unpack``.

    Args:
        folder: Made when the first item is written.
        room: How many bytes may be written, by this process and the workers of its loaders.
    """

    otherwise: str
    """What happens to items that are not stored."""

    def __init__(self, folder: Path, room: float) -> None:
        self.folder = folder
        # in shared memory: workers are started anew for each epoch where they do not persist
        self.room = torch.tensor(room, dtype=torch.float64).share_memory_()

    def pack(self, name: str, *item) -> bytes:
        raise NotImplementedError

    def unpack(self, name: str, content: bytes) -> tuple:
        """Fails in any way where the content is not that of the item."""
        raise NotImplementedError

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def read(self, name: str) -> tuple | None:
        """None when there is no such item, or one that cannot be used, which is logged."""
        try:
            return self.unpack(name, self.path(name).read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # foreign bytes fail in many ways
            _warn(
                f'{self.path(name)} cannot be used and will be made again: '
                f'{type(error).__name__}: {error}'
            )
            return None

    def write(self, name: str, *item) -> None:
        """Writes the item completely or not at all; not when there is no room."""
        content = self.pack(name, *item)
        if len(content) > self.room:
            return
        try:
            write_whole(self.path(name), content, durable=False)
            self.room -= len(content)
        except IsADirectoryError:
            return  # a folder where the file belongs: it stays
        except OSError as error:
            self.room.zero_()
            _warn(f'{error} No more items are stored in {self.folder}; {self.otherwise}.')

    def __len__(self) -> int:
        return sum(not path.name.startswith('.') for path in self.folder.glob('??/*'))


def seal(head: bytes, values: bytes) -> bytes:
    """A file's content: a checksum of the rest, the length of the head, the head, the values."""
    body = b''.join([len(head).to_bytes(8, 'little'), head, values])
    return zlib.crc32(body).to_bytes(4, 'little') + body


def unseal(content: bytes) -> tuple[memoryview, bytearray]:
    """The head and the values. ValueError where the content is damaged."""
    body = memoryview(content)[4:]
    if len(body) < 8 or zlib.crc32(body) != int.from_bytes(content[:4], 'little'):
        raise ValueError('The checksum does not fit.')
    end = 8 + int.from_bytes(body[:8], 'little')
    return body[8:end], bytearray(body[end:])


def bytes_in(folder: Path) -> int:
    """The size of all files in it; one that cannot be looked at, or is taken away meanwhile, counts
    nothing."""
    total = 0
    for path in folder.rglob('*'):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _warn(text: str) -> None:
    print_log(' '.join(text.split())[:500], 'current', level=30)
