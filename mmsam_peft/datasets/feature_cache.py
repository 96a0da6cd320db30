"""Maps of a frozen encoder on disk, each with the label that belongs to it.

An item is one view of one training image: what the pipeline makes of it with random generators that
are seeded by the image's place in the data set and the view's number, and nothing else. Image,
label and map so belong together in every epoch, worker and process.
"""

import hashlib
import io
import json
import os
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from .item_store import ItemStore, seal, unseal

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


class FeatureStore(ItemStore):
    """Maps, each with the label that belongs to it: the label compressed without loss, then the
    map."""

    otherwise = 'maps are computed each time'

    def pack(self, name: str, x: HalfMap, sample: SegDataSample) -> bytes:
        fields = {
            name: {key: _narrow(value) for key, value in sorted(field.items())}
            for name, field in sorted(sample.items())
        }
        head = dict(
            key=self.key(name),
            meta=_plain(sample.metainfo),
            fields=fields,
            shape=tuple(x.values.shape),
            exponent=x.exponent,
            dtype=x.dtype,
        )
        buffer = io.BytesIO()
        torch.save(head, buffer)
        label = zlib.compress(buffer.getbuffer(), 1)
        return seal(label, x.values.cpu().contiguous().numpy().tobytes())

    def unpack(self, name: str, content: bytes) -> tuple[HalfMap, SegDataSample]:
        label, half = unseal(content)
        head = torch.load(io.BytesIO(zlib.decompress(label)), weights_only=True)
        if head['key'] != self.key(name):
            raise ValueError(f'It is the item {head["key"]}.')
        sample = SegDataSample(metainfo=head['meta'])
        for field, values in head['fields'].items():
            data = {key: value.to(dtype) for key, (value, dtype) in values.items()}
            setattr(sample, field, PixelData(**data))
        values = torch.frombuffer(half, dtype=torch.float16).view(head['shape'])
        return HalfMap(values, head['exponent'], head['dtype']), sample

    def key(self, name: str) -> str:
        """The folder's name says what the maps depend on."""
        return f'{self.folder.name}/{name}'


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
