"""A picture of what a model predicts, for a page about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmseg.structures import SegDataSample
from torch import nn

from ...models.segmentors import MultiTaskSegmentor
from ...visualization.classes import Look, look_of, overlay
from ...visualization.images import resized
from ...visualization.panel import panel, panel_items
from ...visualization.sheet import sheet
from ..inference import pipeline_of
from ..prediction import load, predict_batch

SIDE = 320
"""Pixels of a picture's longer side."""


def example_panels(model: nn.Module, images: Sequence[Path]) -> np.ndarray:
    """A picture, RGB, uint8: each image beside its prediction, or a panel of all tasks.

    Raises:
        Exception: What reading or predicting an image raises.
    """
    pipeline, device = pipeline_of(model), next(model.parameters()).device
    rows = []
    for path in images:
        picture = load(path, pipeline)
        (done,) = predict_batch(model, [picture], device, amp=False)
        if done.error:
            raise done.error
        rows.append(_row(model, picture.pixels, done.prediction))
    if isinstance(model, MultiTaskSegmentor):
        width = max(row.shape[1] for row in rows)
        return np.concatenate([_padded(row, width) for row in rows])
    return sheet('', [_tiles(row) for row in rows], _legend(model))


def _row(model: nn.Module, pixels: np.ndarray, prediction: SegDataSample):
    if isinstance(model, MultiTaskSegmentor):
        return panel(pixels, panel_items(model.tasks.values(), prediction))
    mask = prediction.pred_sem_seg.data.squeeze(0).long().numpy()
    return pixels, overlay(pixels, mask, _look(model))


def _look(model: nn.Module) -> Look:
    meta = model.dataset_meta
    return look_of(meta.get('classes'), meta.get('palette'))


def _legend(model: nn.Module) -> list[tuple[str, tuple[int, int, int]]]:
    look = _look(model)
    return [
        (name, tuple(map(int, look.colours[number])))
        for number, name in enumerate(look.names[:14])
        if number != look.clear
    ]


def _tiles(row: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """On paper of one size, whatever the image's."""
    names = ('image', 'prediction')
    return [(name, _framed(one)) for name, one in zip(names, row, strict=True)]


def _framed(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    small = resized(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
    frame = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = ((SIDE - side) // 2 for side in small.shape[:2])
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def _padded(picture: np.ndarray, width: int) -> np.ndarray:
    beside = width - picture.shape[1]
    return np.pad(picture, ((0, 0), (0, beside), (0, 0)), constant_values=255)
