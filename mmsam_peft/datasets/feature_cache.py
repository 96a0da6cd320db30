"""Maps of a frozen encoder on disk, each with the label that belongs to it.

An item is one view of one training image: what the pipeline makes of it with random generators that
are seeded by the image's place in the data set and the view's number, and nothing else. Image,
label and map so belong together in every epoch, worker and process.

The folder is trusted: the checksum finds accidents, not forgeries, and whoever may write to the
folder may change what is trained. No file in it can run code.
"""

import hashlib
import io
import json
import os
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ..whole_files import write_whole

LOG2_MAX = 15
"""The largest magnitude of a stored map lies between 2^14 and 2^15; float16 goes up to 2^16."""


@dataclass(frozen=True)
class HalfMap:
    """A map x = values * 2^exponent in 16 bit, without overflow: the exponent is that of the map's
    largest magnitude.

    A value is off by at most 2^-11 of itself, or 2^-39 of the largest magnitude where that is more.
    """

    values: Tensor
    exponent: int
    dtype: torch.dtype
    """Of x."""

    @classmethod
    def of(cls, x: Tensor) -> 'HalfMap':
        """Raises ValueError when x is not finite."""
        largest = x.abs().max().float()
        if not largest.isfinite():
            raise ValueError(
                f'The encoder gives a map with {largest.item()}, which no training can use: check '
                'the images and '
                'model.checkpoint; in float16 use --amp bf16.'
            )
        exponent = int(torch.frexp(largest).exponent) - LOG2_MAX
        return cls((x.double() * 2.0**-exponent).half(), exponent, x.dtype)

    def restored(self, device: torch.device) -> Tensor:
        return (self.values.to(device, torch.float32) * 2.0**self.exponent).to(self.dtype)


def pack(x: HalfMap, sample: SegDataSample, key: str) -> bytes:
    """An item as a file's content: a checksum, then the label, compressed without loss, then the
    map.

    Args:
        key: What the item is, so that a file in the wrong place is noticed.
    """
    fields = {
        name: {key: _narrow(value) for key, value in sorted(field.items())}
        for name, field in sorted(sample.items())
    }
    head = dict(
        key=key,
        meta=_plain(sample.metainfo),
        fields=fields,
        shape=tuple(x.values.shape),
        exponent=x.exponent,
        dtype=x.dtype,
    )
    buffer = io.BytesIO()
    torch.save(head, buffer)
    label = zlib.compress(buffer.getbuffer(), 1)
    body = b''.join(
        [len(label).to_bytes(8, 'little'), label, x.values.cpu().contiguous().numpy().tobytes()]
    )
    return zlib.crc32(body).to_bytes(4, 'little') + body


def unpack(content: bytes, key: str) -> tuple[HalfMap, SegDataSample]:
    """The inverse of :func:`pack`. ValueError when the content is damaged, or another item's; a
    foreign file, whose checksum fits by chance or by intent, fails in any way."""
    body = memoryview(content)[4:]
    if len(body) < 8 or zlib.crc32(body) != int.from_bytes(content[:4], 'little'):
        raise ValueError('The checksum does not fit.')
    end = 8 + int.from_bytes(body[:8], 'little')
    head = torch.load(io.BytesIO(zlib.decompress(body[8:end])), weights_only=True)
    if head['key'] != key:
        raise ValueError(f'It is the item {head["key"]}.')
    sample = SegDataSample(metainfo=head['meta'])
    for name, field in head['fields'].items():
        setattr(
            sample,
            name,
            PixelData(**{key: value.to(dtype) for key, (value, dtype) in field.items()}),
        )
    values = torch.frombuffer(bytearray(body[end:]), dtype=torch.float16).view(head['shape'])
    return HalfMap(values, head['exponent'], head['dtype']), sample


def _narrow(value: Tensor) -> tuple[Tensor, torch.dtype]:
    """Whole numbers from 0 to 255 in a byte each, anything else as it is; and the type it had."""
    fits = (
        not value.is_floating_point() and value.numel() and 0 <= value.min() and value.max() <= 255
    )
    return (value.to('cpu', torch.uint8) if fits else value.cpu().contiguous()), value.dtype


def _plain(value):
    """Without NumPy's types, which a safe ``torch.load`` refuses."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def bytes_in(folder: Path) -> int:
    """The size of all files in it; one that cannot be looked at, or is taken away meanwhile, counts
    nothing."""
    total = 0
    for path in folder.rglob('*'):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


class FeatureStore:
    """Items in a folder, a file each. Several processes may read and write it at the same time.

    Args:
        folder: Made when the first item is written.
        room: How many bytes this process may write.
    """

    def __init__(self, folder: Path, room: float) -> None:
        self.folder, self.room = folder, room

    def read(self, name: str) -> tuple[HalfMap, SegDataSample] | None:
        """None when there is no such item, or one that cannot be used, which is logged."""
        try:
            return unpack(self.path(name).read_bytes(), self.key(name))
        except FileNotFoundError:
            return None
        except Exception as error:  # foreign bytes fail in many ways
            print_log(
                f'{self.path(name)} cannot be used and will be made again: {type(error).__name__}: '
                f'{str(error)[:200]}',
                'current',
                level=30,
            )
            return None

    def write(self, name: str, x: HalfMap, sample: SegDataSample) -> None:
        """Writes the item completely or not at all; not when there is no room."""
        content = pack(x, sample, self.key(name))
        if len(content) > self.room:
            return
        try:
            write_whole(self.path(name), content, durable=False)
            self.room -= len(content)
        except IsADirectoryError:
            return  # a folder where the file belongs: it stays, and the map is computed each time
        except OSError as error:
            self.room = 0
            print_log(
                f'{self.path(name)} cannot be written ({error}): no more maps are stored, but '
                'computed each time.',
                'current',
                level=30,
            )

    def key(self, name: str) -> str:
        """The folder's name says what the maps depend on."""
        return f'{self.folder.name}/{name}'

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def __len__(self) -> int:
        return sum(not path.name.startswith('.') for path in self.folder.glob('??/*'))


class CachedPipeline:
    """A data set's pipeline that gives the stored map and label of a view where there are some.

    Gives dicts of ``inputs``, a ``HalfMap`` or the image (3, H, W) of which to make one,
    ``data_samples`` and ``item``, the name under which to store it.

    Args:
        pipeline: The data set's own, which packs its results.
        store: Where the items are.
        part: The data set's number, where several are joined.
        views: How many there are of each image.
        turn: A scalar in shared memory: view ``turn % views`` is the one to give, also in the
            workers of a data loader.
    """

    def __init__(
        self,
        pipeline: Callable[[dict], dict],
        store: FeatureStore,
        part: int,
        views: int,
        turn: Tensor,
    ) -> None:
        self.pipeline, self.store, self.part, self.views, self.turn = (
            pipeline,
            store,
            part,
            views,
            turn,
        )

    def __call__(self, info: dict) -> dict | None:
        view = int(self.turn) % self.views
        item = hashlib.sha256(json.dumps([self.part, view, _identity(info)]).encode()).hexdigest()[
            :32
        ]
        if found := self.store.read(item):
            return dict(inputs=found[0], data_samples=found[1], item=item)
        with seeded(self.part, info['sample_idx'], view):
            packed = self.pipeline(info)
        return packed and dict(packed, item=item)


def _identity(value):
    """A sample's entry in the data set as JSON takes it; paths of files with size and time of
    change."""
    if isinstance(value, dict):
        return {key: _identity(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_identity(item) for item in value]
    if isinstance(value, str) and os.path.isfile(value):
        status = os.stat(value)
        return [value, status.st_size, status.st_mtime_ns]
    return value if isinstance(value, str | int | float | None) else type(value).__name__


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """The random generators of Python, NumPy and PyTorch's CPU seeded by ``numbers``, and
    afterwards as they were."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
