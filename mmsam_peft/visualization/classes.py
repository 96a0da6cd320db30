"""Classes in colour over an image, and its mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..tasks.semantic import spread_colours

BACKGROUND = ('background', '_background_', 'bg', 'unlabeled', 'unlabelled')
MISSED, EXTRA, CONFUSED = (230, 97, 0), (26, 133, 255), (200, 40, 140)
"""Colours of mistakes, which colour-blind people tell apart."""


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
    unnamed_object = not classes and number == 2
    clear = named[0] if named else 0 if first_is_black or unnamed_object else None
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
