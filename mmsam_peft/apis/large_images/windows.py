"""What the network is given of a large image, window by window."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from mmcv.image.geometric import _scale_size
from mmcv.transforms import BaseTransform
from mmcv.transforms import Resize as AnyResize
from PIL import Image
from torch import nn

from ...datasets.pixels import Pixels
from ...datasets.pixels.setting import without_value
from ...datasets.pixels.stored import Stored
from ...datasets.transforms.resize import FILTERS, Resize
from ..inference import pipeline_of
from .grid import Axis
from .source import LargeImage

SUPPORT = dict(nearest=0.5, area=0.5, bilinear=1, bicubic=2, lanczos=3)
"""How far Pillow's filters reach, in pixels of the coarser side."""
MOST_SEEN = 2**27
"""Pixels of the file in one window."""


class Window(NamedTuple):
    """One of the windows: its numbers in the grid, what the network is given, if the file has
    anything there, and where in the window's span it has, (h, w) bool or True."""

    row: int
    column: int
    data: dict | None
    there: np.ndarray | bool


class Windows:
    """Windows of an image, read as training read its images.

    A model that was trained for windows (``test_cfg.mode='slide'``) sees those of the picture at
    the scale of its test pipeline. Any other was trained on whole images, and each window is given
    to it as such a one.

    Args:
        window: Side, or (height, width), in pixels of the picture; None: the model's own.
        stride: None: the model's own, or two thirds of the window.
        bands: In place of those of training, counted from 1.

    Raises:
        ValueError: The image is not of the kind that the model was trained on; windows that cannot
            be; a test pipeline that scales in another way.
    """

    def __init__(
        self,
        model: nn.Module,
        image: LargeImage,
        window: int | Sequence[int] | None = None,
        stride: int | Sequence[int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> None:
        self.image = image
        load, *steps = pipeline_of(model).transforms
        self.pixels = _renumbered(getattr(load, 'pixels', Pixels()), bands, image)
        self.chosen = [band - 1 for band in bands or _bands(load, image)]
        self.whole = model.test_cfg.get('mode', 'whole') != 'slide'
        resizes = [step for step in steps if isinstance(step, AnyResize)]
        self.resize = None if self.whole else _only(resizes)
        self.steps = [step for step in steps if step is not self.resize]
        size = image.header.size
        scaled = _scaled(self.resize, size) if self.resize else size
        window = _pair(window) or self._own_window(model, resizes)
        given = _pair(stride)
        if given is None and not self.whole and window == tuple(model.test_cfg.crop_size):
            given = tuple(model.test_cfg.stride)
        stride = given or tuple(max(1, side * 2 // 3) for side in window)
        self.rows, self.columns = map(Axis, size, scaled, window, stride)
        self.window = window
        self._require_small()

    @property
    def number(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def support(self) -> float:
        return SUPPORT[self.resize.interpolation] if self.resize else 0

    def read(self, row: int, column: int) -> Window:
        """ValueError names the window whose pixels are not as training has them; OSError pixels
        that cannot be read."""
        rows = self.rows.seen(row, self.support)
        columns = self.columns.seen(column, self.support)
        try:
            found = self.image.read(rows, columns, self.chosen)
        except MemoryError:  # says nothing of the file
            raise
        except Exception as error:  # damaged files fail in many ways
            cause = str(error.__cause__ or error)[:200] or type(error).__name__
            raise OSError(
                f'{self.image.path}: the rows {rows[0]} to {rows[1]}, columns {columns[0]} to '
                f'{columns[1]}, cannot be read ({cause}): copy the file again'
            ) from error
        if found is None:
            return Window(row, column, None, False)
        values, there = found
        there &= ~self._holes(values)
        if not there.any():
            return Window(row, column, None, False)
        picture = self._picture(values, there)
        top, left = self.rows.starts[row], self.columns.starts[column]
        if self.resize:
            picture = self._scale(picture, row, column, rows[0], columns[0])
        name = f'{self.image.path}, window of {self.window} at ({top}, {left})'
        results = dict(img=picture, img_path=name)
        results['img_shape'] = results['ori_shape'] = picture.shape[:2]
        for step in self.steps:
            results = step(results)
        (y0, y1), (x0, x1) = self.rows.spans[row], self.columns.spans[column]
        there = there[y0 - rows[0] : y1 - rows[0], x0 - columns[0] : x1 - columns[0]]
        return Window(row, column, results, True if there.all() else there.copy())

    def _holes(self, values: np.ndarray) -> np.ndarray:
        """(h, w): pixels that the file or the model's setting takes for none; no number at all."""
        holes = np.zeros(values.shape[:2], bool)
        if values.dtype.kind == 'f':
            holes |= ~np.isfinite(values).all(-1)
        for value in (self.image.header.nodata, *self.pixels.without):
            if value is not None:
                holes |= without_value(values, value)
        return holes

    def _picture(self, values: np.ndarray, there: np.ndarray) -> np.ndarray:
        """(h, w, channels), as training has it, black where there is nothing."""
        header = self.image.header._replace(
            size=values.shape[:2], bands=values.shape[2], nodata=None
        )
        if not there.all():  # for which training has an error, or black
            values = np.where(there[..., None], values, values[there][0])
        picture = replace(self.pixels, nodata=None).picture(Stored(header, values))
        picture[~there] = 0
        return picture

    def _scale(self, picture: np.ndarray, row: int, column: int, top: int, left: int) -> np.ndarray:
        """The window of the picture as scaling all of it would have made it."""
        box = []
        for axis, number, first in ((self.columns, column, left), (self.rows, row, top)):
            ratio, start = axis.pixels / axis.scaled, axis.starts[number]
            box += [start * ratio - first, (start + axis.window) * ratio - first]
        size = self.columns.window, self.rows.window
        how, (x0, x1, y0, y1) = FILTERS[self.resize.interpolation], box
        bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(picture, 2, 0)]
        box = x0, y0, min(x1, picture.shape[1]), min(y1, picture.shape[0])
        return np.stack([np.asarray(one.resize(size, how, box=box)) for one in bands], axis=2)

    def _own_window(self, model: nn.Module, resizes: list[BaseTransform]) -> tuple[int, int]:
        if not self.whole:
            height, width = model.test_cfg.crop_size
            return height, width
        sizes = {tuple(step.scale[::-1]) for step in resizes if step.scale}
        if len(sizes) != 1:
            raise ValueError(
                'this model was trained on whole images, and its test pipeline does not say of '
                'what size: give --window, the side in pixels of the windows that it is to see as '
                'such images.'
            )
        height, width = sizes.pop()
        return int(height), int(width)

    def _require_small(self) -> None:
        seen = [
            max(
                end - first for first, end in (axis.seen(i, self.support) for i in range(len(axis)))
            )
            for axis in (self.rows, self.columns)
        ]
        if seen[0] * seen[1] > MOST_SEEN:
            raise ValueError(
                f'a window would have {seen[0]} x {seen[1]} pixels of the file, which are read at '
                f'once, expected {MOST_SEEN / 1e6:.0f} million at most: give a smaller --window.'
            )


def _bands(load: Any, image: LargeImage) -> Sequence[int]:
    """The bands that training takes of such an image, counted from 1. ValueError where it is of
    another kind."""
    pixels = getattr(load, 'pixels', Pixels())
    try:
        pixels.require(image.header)
    except ValueError as error:
        raise ValueError(
            f'{image.path}: {error}. The model was trained on images with '
            f'pixels={pixels.setting() or "8 bits, grey or RGB"}; --bands chooses others of the '
            'bands (bands=...)'
        ) from None
    return pixels.bands or range(1, image.header.bands + 1)


def _renumbered(pixels: Pixels, bands: Sequence[int] | None, image: LargeImage) -> Pixels:
    """The setting for an array of the chosen bands alone. ValueError where the file lacks them, or
    the network takes another number."""
    if bands is None:
        chosen = pixels.bands
    else:
        chosen, wanted = bands, pixels.chosen or 3
        if len(bands) != wanted and not (pixels.chosen is None and len(bands) == 1):
            raise ValueError(
                f'bands={list(bands)}: got {len(bands)}, expected {wanted}, as many as the model '
                'was trained on.'
            )
        if min(bands) < 1 or max(bands) > image.header.bands:
            raise ValueError(
                f'bands={list(bands)}: {image.path} has the bands 1 to {image.header.bands}.'
            )
    made = replace(pixels, bands=None if chosen is None else tuple(range(1, len(chosen) + 1)))
    if bands is not None:
        made.require(image.header._replace(bands=len(bands)))
    return made


def _only(resizes: list[BaseTransform]) -> BaseTransform | None:
    if len(resizes) > 1 or resizes and not getattr(resizes[0], 'antialias', False):
        raise ValueError(
            'the test pipeline of this model scales images '
            f'{"twice" if len(resizes) > 1 else "without antialiasing, as MMCV does"}, which '
            'windows from the disk cannot follow: predict pieces of the image.'
        )
    return resizes[0] if resizes else None


def _scaled(resize: Resize, size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of the picture that the pipeline makes of a file of ``size``."""
    scale = resize.scale or _scale_size(size[::-1], resize.scale_factor)
    return resize._size(size, tuple(scale))


def _pair(given: int | Sequence[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    pair = (given, given) if isinstance(given, int) else tuple(given)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f'{given}: expected a side in pixels, or a height and a width.')
    return pair
