"""Objects in colours, with what pointed at them."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..tasks.semantic import spread_colours
from ..whole_files import write_whole
from .classes import Look, overlay

ON, BESIDE, EDGE = (40, 200, 60), (230, 50, 40), (255, 255, 255)
"""Colours of clicks on an object and beside it, and of what sets them off."""
MOST_COLOURS = 256


def numbered(masks: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The numbers of objects, from 1 on, in a picture of (H, W); 0 elsewhere. Where masks overlap,
    the smaller one is seen."""
    picture = np.zeros(size, np.int32)
    for i in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        picture[masks[i]] = i + 1
    return picture


def write_numbers(numbers: np.ndarray, path: Path) -> None:
    """Writes the numbers of objects as a PNG: with a palette up to 255, in 16 bits of grey above.

    ValueError for more than 65,535 objects.
    """
    if numbers.max(initial=0) > 65535:
        raise ValueError(f'{numbers.max()} objects, and a PNG numbers 65,535 at most.')
    if numbers.max(initial=0) < MOST_COLOURS:
        picture = Image.fromarray(numbers.astype(np.uint8))
        picture.putpalette(np.array(colours(MOST_COLOURS - 1), np.uint8).ravel().tolist())
    else:
        picture = Image.fromarray(numbers.astype(np.uint16))
    content = io.BytesIO()
    picture.save(content, 'PNG')
    write_whole(path, content.getvalue())


def colours(number: int) -> list[tuple[int, ...]]:
    """Of ``number`` objects, behind black."""
    return [(0, 0, 0), *spread_colours(number)]


def instance_overlay(image: np.ndarray, numbers: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """An image (H, W, 3), RGB, under the colours of its objects (H, W), with their borders."""
    number = int(numbers.max(initial=0))
    look = Look([''] * (number + 1), np.array(colours(number), np.uint8), clear=0, ignore=-1)
    return overlay(image, numbers, look, opacity)


def draw_prompts(
    picture: np.ndarray,
    points: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
    box: Sequence[float] | None = None,
    colour: Sequence[int] = EDGE,
) -> np.ndarray:
    """The picture (H, W, 3), RGB, with clicks as discs, green on the object, red and crossed beside
    it, and a box in ``colour``."""
    picture = np.array(picture, order='C')
    radius = max(3, round(max(picture.shape[:2]) / 100))
    line = max(1, radius // 3)
    if box is not None:
        corners = [tuple(round(value) for value in box[i : i + 2]) for i in (0, 2)]
        cv2.rectangle(picture, *corners, EDGE, line + 2)
        cv2.rectangle(picture, *corners, tuple(map(int, colour)), line)
    for (x, y), label in zip(points, labels, strict=True):
        if label < 0:
            continue
        x, y = round(x), round(y)
        cv2.circle(picture, (x, y), radius + line, EDGE, -1, cv2.LINE_AA)
        cv2.circle(picture, (x, y), radius, ON if label else BESIDE, -1, cv2.LINE_AA)
        reach = radius // 2
        cv2.line(picture, (x - reach, y), (x + reach, y), EDGE, line, cv2.LINE_AA)
        if label:
            cv2.line(picture, (x, y - reach), (x, y + reach), EDGE, line, cv2.LINE_AA)
    return picture
