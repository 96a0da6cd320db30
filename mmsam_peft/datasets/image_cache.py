"""Images on disk as a pipeline resizes them, before anything random happens to them."""

import hashlib
import json
import os
from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform

from .item_store import ItemStore, seal, unseal
from .transforms import LoadImageFromFile, LoadImageOrArray, LoadMask, Resize

FORMAT = 2
"""Of the items, and of how files become images: another number leaves old items alone."""
READERS = (LoadImageFromFile, LoadImageOrArray)


class ImageStore(ItemStore):
    """Images (H, W, C) without loss, each with what is said of it, a dict."""

    otherwise = 'images are read and resized each time'

    def pack(self, name: str, image: np.ndarray, about: dict) -> bytes:
        head = dict(about, item=name, shape=image.shape, dtype=image.dtype.str)
        return seal(json.dumps(head).encode(), np.ascontiguousarray(image).tobytes())

    def unpack(self, name: str, content: bytes) -> tuple[np.ndarray, dict]:
        text, values = unseal(content)
        head = json.loads(bytes(text))
        if head.pop('item') != name:
            raise ValueError('It is another item.')
        image = np.frombuffer(values, np.dtype(head.pop('dtype')))
        return image.reshape(head.pop('shape')), head


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
