"""How much of the images each class covers, and how large and how wide things are."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

IGNORED = 255
LONGEST = 2048
"""Larger masks are thinned out before their objects are measured."""
SPECKS = 4
"""Regions of fewer pixels are no objects."""


@dataclass
class MaskFacts:
    """One mask of class numbers.

    Attributes:
        pixels: by class number (256).
        objects: a row for each connected region of a class from 1 on: class, area, and width, the
            typical way across, all in pixels of the image.
        shape: (H, W).
    """

    pixels: np.ndarray
    objects: np.ndarray
    shape: tuple[int, int]


def facts_of(mask: np.ndarray, background: int | None = 0) -> MaskFacts:
    """What a mask (H, W), uint8, shows. ``background``: the class that is no object; None if all
    are."""
    step = -(-max(mask.shape) // LONGEST)
    thin = np.ascontiguousarray(mask[::step, ::step])
    rows = []
    for number in np.unique(thin):
        if number not in (background, IGNORED):
            rows += _regions(thin == number, int(number), step)
    objects = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return MaskFacts(np.bincount(mask.ravel(), minlength=256), objects, mask.shape)


def _regions(region: np.ndarray, number: int, step: int) -> list[tuple[float, float, float]]:
    """(class, area, width) of each connected region."""
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    # Outside the image there is background: a road that leaves it is as wide as before, though.
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    area = np.bincount(labels.ravel(), minlength=count)[1:]
    inside = np.bincount(labels.ravel(), weights=depth.ravel(), minlength=count)[1:]
    # In a strip of width w the distance to the edge is w / 4 in the mean, in a disc a sixth.
    return [
        (number, float(one) * step**2, 4 * total / one * step)
        for one, total in zip(area, inside, strict=True)
        if one >= SPECKS
    ]


@dataclass
class ObjectFacts:
    """All masks that were looked at.

    Attributes:
        shares: of the labelled pixels, by class.
        ignored: share of ignored pixels.
        in_images: in how many masks a class occurs.
        per_image: median number of objects in a mask that has some.
        diameter: of a disc of an object's area: what a tenth and half of the objects' pixels do not
            exceed, so that a speck counts less than a road; None without objects.
        width: across objects, likewise.
        narrowest: the class whose objects are narrowest, and what half of its pixels do not exceed.
        empty: masks without any object.
        masks: all of them.
    """

    shares: np.ndarray
    ignored: float
    in_images: np.ndarray
    per_image: float
    diameter: tuple[float, float] | None
    width: tuple[float, float] | None
    narrowest: tuple[int, float] | None
    empty: int
    masks: int


def summarise(facts: Sequence[MaskFacts], classes: int) -> ObjectFacts:
    pixels = np.sum([one.pixels for one in facts], axis=0)
    labelled = max(1, pixels[:classes].sum())
    seen = np.array([one.pixels[:classes] > 0 for one in facts])
    counts = [len(one.objects) for one in facts if len(one.objects)]
    every = np.concatenate([one.objects for one in facts])
    by_class = [
        (_tenth_and_half(rows[:, 2], rows[:, 1])[1], number)
        for number in range(classes)
        if len(rows := every[every[:, 0] == number])
    ]
    diameters = np.sqrt(4 / np.pi * every[:, 1])
    return ObjectFacts(
        shares=pixels[:classes] / labelled,
        ignored=pixels[IGNORED] / max(1, pixels.sum()) if classes <= IGNORED else 0.0,
        in_images=seen.sum(0),
        per_image=float(np.median(counts)) if counts else 0.0,
        diameter=_tenth_and_half(diameters, every[:, 1]),
        width=_tenth_and_half(every[:, 2], every[:, 1]),
        narrowest=min(by_class)[::-1] if by_class else None,
        empty=sum(not len(one.objects) for one in facts),
        masks=len(facts),
    )


def _tenth_and_half(values: np.ndarray, weights: np.ndarray) -> tuple[float, float] | None:
    """The values that a tenth and half of the weight does not exceed."""
    if not len(values):
        return None
    order = np.argsort(values, kind='stable')
    below = np.cumsum(weights[order]) / weights.sum()
    tenth, half = (float(values[order][np.searchsorted(below, share)]) for share in (0.1, 0.5))
    return tenth, half
