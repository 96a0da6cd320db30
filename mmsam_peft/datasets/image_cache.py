"""Images on disk as a pipeline resizes them, before anything random happens to them."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from ..whole_files import write_whole
from .transforms import LoadImageFromFile, LoadImageOrArray, LoadMask, Resize

FORMAT = 1
"""Of the items, and of how files become images: another number leaves old items alone."""
READERS = (LoadImageFromFile, LoadImageOrArray)


class ImageStore:
    """Images (H, W, C) in a folder, a file each, without loss. Several processes may read and write
    it at the same time.

    Args:
        folder: Made when the first item is written.
        room: How many bytes may be written, by this process and the workers of its loaders.
    """

    def __init__(self, folder: Path, room: float) -> None:
        self.folder = folder
        # in shared memory: workers are started anew for each epoch where they do not persist
        self.room = torch.tensor(room, dtype=torch.float64).share_memory_()

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def read(self, name: str) -> tuple[np.ndarray, dict] | None:
        """An image and what is said of it. None when there is no such item, or one that cannot be
        used, which is logged."""
        try:
            return _unpack(self.path(name).read_bytes(), name)
        except FileNotFoundError:
            return None
        except Exception as error:  # foreign bytes fail in many ways
            _warn(f'{self.path(name)} cannot be used and will be made again: {error}')
            return None

    def write(self, name: str, image: np.ndarray, about: dict) -> None:
        """Writes the item completely or not at all; not when there is no room."""
        content = _pack(name, image, about)
        if len(content) > self.room:
            return
        try:
            write_whole(self.path(name), content, durable=False)
            self.room -= len(content)
        except IsADirectoryError:
            return  # a folder where the file belongs: it stays, and the image is read each time
        except OSError as error:
            self.room.zero_()
            _warn(f'{error} No more images are stored; they are read and resized each time.')


def _warn(text: str) -> None:
    print_log(' '.join(text.split())[:500], 'current', level=30)


def _pack(name: str, image: np.ndarray, about: dict) -> bytes:
    """A checksum, the length of a head, the head as JSON, the values."""
    head = dict(about, item=name, shape=image.shape, dtype=image.dtype.str)
    text = json.dumps(head).encode()
    body = len(text).to_bytes(4, 'little') + text + np.ascontiguousarray(image).tobytes()
    return zlib.crc32(body).to_bytes(4, 'little') + body


def _unpack(content: bytes, name: str) -> tuple[np.ndarray, dict]:
    """ValueError where the content is damaged, or another item's."""
    body = memoryview(content)[4:]
    if len(body) < 4 or zlib.crc32(body) != int.from_bytes(content[:4], 'little'):
        raise ValueError('the checksum does not fit.')
    end = 4 + int.from_bytes(body[:4], 'little')
    head = json.loads(bytes(body[4:end]))
    if head.pop('item') != name:
        raise ValueError('it is another item.')
    values = np.frombuffer(bytearray(body[end:]), np.dtype(head.pop('dtype')))
    return values.reshape(head.pop('shape')), head


class StoredImages:
    """A data set's pipeline that reads an image resized where it is stored so, and stores it where
    it is not. Masks are read each time.

    Args:
        pipeline: The data set's own. See ``suits``.
        store: Where the images are.
    """

    def __init__(self, pipeline: Callable[[dict], dict], store: ImageStore) -> None:
        self.pipeline, self.store = pipeline, store
        self.steps = _leading(self.transforms)
        self.made_by = [_described(step) for step in (self.steps[0], self.steps[-1])]

    @property
    def transforms(self) -> list:
        """The data set's own steps, which checks look for."""
        return self.pipeline.transforms

    def __call__(self, info: dict) -> dict | None:
        name = self.name(info)
        found = self.store.read(name) if name else None
        results = self._stored(info, *found) if found else self._read(info, name)
        for step in self.transforms[len(self.steps) :]:
            if results is None:
                return None
            results = step(results)
        return results

    def name(self, info: dict) -> str | None:
        """Of a sample's image: its file, with size and time of change, and what resized it. None
        where it is no file."""
        path = info.get('img_path')
        try:
            status = os.stat(path)
        except (OSError, TypeError):
            return None
        file = [os.path.abspath(path), status.st_size, status.st_mtime_ns]
        text = json.dumps([FORMAT, file, self.made_by], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _stored(self, info: dict, image: np.ndarray, about: dict) -> dict:
        resize = self.steps[-1]
        results = dict(info, **{key: _as_tuple(value) for key, value in about.items()}, img=image)
        for step in self.steps[1:-1]:
            results = step(results)
        resize._resize_seg(results)
        return results

    def _read(self, info: dict, name: str | None) -> dict | None:
        results = info
        for step in self.steps:
            results = step(results)
            if results is None:
                return None
        if name:
            keys = ('img_shape', 'ori_shape', 'scale', 'scale_factor', 'keep_ratio')
            about = {key: _plain(results[key]) for key in keys if key in results}
            self.store.write(name, results['img'], about)
        return results


def suits(pipeline: Callable[[dict], dict]) -> bool:
    """Whether a pipeline begins with reading an image, then perhaps its mask, and resizing both to
    one size."""
    return bool(_leading(getattr(pipeline, 'transforms', [])))


def _leading(steps: list[BaseTransform]) -> list[BaseTransform]:
    """The steps up to ``Resize``; none where others are among them."""
    for number, step in enumerate(steps):
        if type(step) is Resize:
            return steps[: number + 1] if number else []
        if type(step) not in (READERS if number == 0 else (LoadMask,)):
            return []
    return []


def _described(step: BaseTransform) -> list:
    return [type(step).__name__, {key: str(value) for key, value in sorted(vars(step).items())}]


def _plain(value):
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _as_tuple(value):
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
