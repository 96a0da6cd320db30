"""An image with truth and prediction side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from .classes import Look, overlay
from .images import resized
from .panel import Item, over
from .sheet import NARROWEST, PAPER, sheet

TILE = 320
"""Pixels of the longer side of each picture, at most."""
MOST_NAMED = 14
"""Classes in a legend."""


def triptych(
    image: np.ndarray, prediction: np.ndarray, truth: np.ndarray, look: Look, title: str
) -> np.ndarray:
    """A picture, RGB, uint8: image, truth and prediction in a row, with a legend of the classes
    that are seen.

    Args:
        image: RGB, uint8 (H, W, 3), of any size.
        prediction: Class numbers (h, w).
        truth: Class numbers (h, w).
    """
    size = _size(truth.shape)
    image, truth, prediction = (
        resized(image, size),
        _nearest(truth, size),
        _nearest(prediction, size),
    )
    tiles = [
        ('image', image),
        ('truth', overlay(image, truth, look)),
        ('prediction', overlay(image, prediction, look)),
    ]
    return sheet(title, [tiles], _legend(look, truth, prediction))


def task_sheet(image: np.ndarray, items: Sequence[Item], title: str) -> np.ndarray:
    """A picture, RGB, uint8: the image, and in a column for each task its truth above its
    prediction, in the colours of ``panel``, at a fraction of its time."""
    size = _size(image.shape[:2])
    image, rows = resized(image, size), [[('image', None)], [('image', None)]]
    rows[0][0] = ('image', image)
    for task, prediction, label in items:
        prediction, label = (
            None if one is None else np.stack([_nearest(plane, size) for plane in one])
            for one in (prediction, label)
        )
        limits = (label is not None and task.limits(label)) or task.limits(prediction)
        if limits:
            title += f'   {task.name} {limits[0]:.3g} to {limits[1]:.3g} {task.unit}'.rstrip()
        drawn = None if label is None else over(image, task, label, limits)
        rows[0].append((f'{task.name}, truth', drawn))
        rows[1].append((f'{task.name}, prediction', over(image, task, prediction, limits)))
    return sheet(title, rows)


def _size(shape: Sequence[int]) -> tuple[int, int]:
    """As the image, but neither large nor tiny."""
    scale = min(max(max(shape), NARROWEST), TILE) / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) at another size, of the same values."""
    kept = (
        values
        if values.dtype in (np.uint8, np.float32)
        else values.astype(np.float32 if values.dtype.kind == 'f' else np.uint8)
    )
    return cv2.resize(kept, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _legend(look: Look, *masks: np.ndarray) -> list[tuple]:
    """(name, colour) of the classes that are seen, the largest first."""
    counts = sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
    present = [i for i in np.argsort(-counts, kind='stable') if counts[i] and i != look.clear]
    entries = [
        (look.names[i], tuple(map(int, look.colours[i]))) for i in present if i < len(look.names)
    ]
    if more := len(entries[MOST_NAMED:]):
        entries = [*entries[:MOST_NAMED], (f'and {more} more', PAPER)]
    if counts[look.ignore] and look.ignore >= len(look.names):
        entries.append(('ignored', (150, 150, 150)))
    return entries
