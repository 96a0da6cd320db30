"""Classes in colour over an image, its mistakes, and the three side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..tasks.semantic import spread_colours
from .images import resized

BACKGROUND = ('background', '_background_', 'bg', 'unlabeled', 'unlabelled')
MISSED, EXTRA, CONFUSED = (230, 97, 0), (26, 133, 255), (200, 40, 140)
"""Colours of mistakes, which colour-blind people tell apart."""
INK, PAPER, QUIET = (32, 36, 42), (255, 255, 255), (110, 116, 124)
TILE = 320
"""Pixels of the longer side of each picture in a row of three."""
GAP, LINE = 10, 20
MOST_NAMED = 14
"""Classes in a legend."""


@dataclass
class Look:
    """How class numbers are shown."""

    names: list[str]
    colours: np.ndarray
    """(K, 3), uint8."""
    clear: int | None
    """The class through which the image is seen."""
    ignore: int = 255


def look_of(
    classes: Sequence[str] | None,
    palette: Sequence[Sequence[int]] | None,
    ignore: int = 255,
    number: int = 2,
) -> Look:
    """The palette's colours where it has different ones for all classes, else hues far apart."""
    names = [str(name) for name in classes or range(number)]
    given = [tuple(map(int, colour)) for colour in palette or ()]
    first_is_black = len(given) == len(names) and not any(given[0])
    named = [i for i, name in enumerate(names) if name.strip().lower() in BACKGROUND]
    clear = named[0] if named else 0 if first_is_black or not classes else None
    shown = [given[i] for i in range(len(given)) if i != clear]
    if len(given) != len(names) or len(set(shown)) < len(shown):
        given = spread_colours(len(names))
    return Look(names, np.array(given, np.uint8).reshape(-1, 3), clear, ignore)


def overlay(image: np.ndarray, mask: np.ndarray, look: Look, opacity: float = 0.5) -> np.ndarray:
    """The image (H, W, 3) under the colours of its classes (H, W), with their borders; the clear
    class is left out, ignored pixels are hatched in grey."""
    known = mask < len(look.colours)
    colours = look.colours[np.where(known, mask, 0)]
    seen = known & (mask != look.ignore)
    if look.clear is not None:
        seen &= mask != look.clear
    picture = np.where(seen[..., None], (1 - opacity) * image + opacity * colours, image)
    edge = seen & _borders(mask)
    picture = np.where(edge[..., None], colours, picture)
    return _hatched(picture.astype(np.uint8), mask == look.ignore)


def mistakes(
    image: np.ndarray, prediction: np.ndarray, truth: np.ndarray, look: Look
) -> np.ndarray:
    """The image in pale grey, and in colour what is missed (truth where the clear class is
    predicted), what is found where nothing is, and one class taken for another."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    picture = np.repeat(110 + 0.55 * grey, 3, axis=-1)
    wrong = (prediction != truth) & (truth != look.ignore)
    kinds = {
        MISSED: wrong & (prediction == look.clear),
        EXTRA: wrong & (truth == look.clear),
    }
    kinds[CONFUSED] = wrong & ~kinds[MISSED] & ~kinds[EXTRA]
    for colour, where in kinds.items():
        picture = np.where(where[..., None], 0.1 * picture + 0.9 * np.array(colour), picture)
    return _hatched(picture.astype(np.uint8), truth == look.ignore)


def mistake_names(look: Look) -> list[tuple[str, tuple[int, int, int]]]:
    """Those that there can be, with their colours."""
    found = [('missed', MISSED), ('false alarm', EXTRA)] if look.clear is not None else []
    several = len(look.names) - (look.clear is not None) > 1
    return found + ([('another class', CONFUSED)] if several else [])


def triptych(
    image: np.ndarray, prediction: np.ndarray, truth: np.ndarray, look: Look, title: str
) -> np.ndarray:
    """A picture, RGB, uint8: image, truth and prediction side by side, with a title and a legend of
    the classes that are seen. It is at most three times ``TILE`` wide, whatever the image's size.

    Args:
        image: RGB, uint8 (H, W, 3), of any size.
        prediction: Class numbers (h, w).
        truth: Class numbers (h, w).
    """
    height, width = truth.shape
    scale = min(1, TILE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image = resized(image, size)
    masks = [
        cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        for mask in (truth, prediction)
    ]
    tiles = [image, *(overlay(image, mask, look) for mask in masks)]
    column = max(size[1], 150)  # room for a title
    whole = 3 * column + 4 * GAP
    legend = _legend(look, masks, whole - 2 * GAP)
    sheet = Image.new('RGB', (whole, 2 * LINE + size[0] + 3 * GAP + LINE * len(legend)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP / 2), _fitted(title, whole - 2 * GAP), INK, _font())
    for i, (tile, name) in enumerate(zip(tiles, ('image', 'truth', 'prediction'), strict=True)):
        left = GAP + i * (column + GAP)
        draw.text((left, GAP / 2 + LINE), name, QUIET, _font())
        sheet.paste(Image.fromarray(tile), (left + (column - size[1]) // 2, GAP + 2 * LINE))
    for row, entries in enumerate(legend):
        top = 2 * LINE + size[0] + 2 * GAP + row * LINE
        for left, name, colour in entries:
            draw.rectangle((left, top + 3, left + 11, top + 14), colour, QUIET)
            draw.text((left + 17, top), name, INK, _font())
    return np.asarray(sheet)


def _legend(look: Look, masks: Sequence[np.ndarray], width: int) -> list[list[tuple]]:
    """Rows of (left, name, colour) of the classes in ``masks``."""
    counts = sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
    present = [i for i in np.argsort(-counts, kind='stable') if counts[i] and i != look.clear]
    entries = [
        (look.names[i], tuple(map(int, look.colours[i]))) for i in present if i < len(look.names)
    ]
    more = len(entries) - MOST_NAMED
    entries = entries[:MOST_NAMED] + ([(f'and {more} more', PAPER)] if more > 0 else [])
    if counts[look.ignore] and look.ignore >= len(look.names):
        entries.append(('ignored', (150, 150, 150)))
    rows, left = [[]], GAP
    for name, colour in entries:
        name = _fitted(name, width - 30)
        room = 17 + _font().getlength(name) + 14
        if left + room > width and rows[-1]:
            rows.append([])
            left = GAP
        rows[-1].append((left, name, colour))
        left += room
    return rows if rows[0] else []


def _borders(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels beside one of another number."""
    edge = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _hatched(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Grey, with diagonal lines."""
    if not where.any():
        return picture
    rows, columns = np.indices(where.shape, sparse=True)
    lines = np.where((rows + columns) % 8 < 2, 90, 165)[..., None].astype(np.uint8)
    return np.where(where[..., None], lines, picture)


@lru_cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), 13
    )


def _fitted(text: str, width: float) -> str:
    """The text, its middle left out where it is too long."""
    if _font().getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and _font().getlength(text[: kept // 2] + '…' + text[-(kept // 2) :]) > width:
        kept -= 2
    return text[: kept // 2] + '…' + text[-(kept // 2) :]
