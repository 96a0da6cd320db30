"""What to train with, and why: settings from what the data is and what the machine can do."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..apis.training_defaults import Choice
from ..datasets.survey.objects import ObjectFacts
from ..datasets.survey.survey import Survey

CELL, PATCH = 4, 16
"""Pixels of the network's input in a cell of SAM's mask, and in one of its patches."""
NARROW, USUAL = 2, 3
"""Cells across that the narrowest tenth of what is to be found needs, and half of it."""
SIZES = (256, 384, 512, 768, 1024)
SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
ALIKE = 0.9
"""Share of the images that one shape must fit for the network's input to have that shape."""


@dataclass(frozen=True)
class Sizes:
    """What the network sees. ``windows``: the scale at which they are cut; None: whole images."""

    image_size: tuple[int, int]
    windows: float | None
    reason: str


def choose_sizes(survey: Survey, least: int, most: int) -> Sizes:
    """The size at which the network sees what is to be found.

    Args:
        least: the smallest size to take, which the encoder is used to.
        most: the largest that the machine can train in good time.
    """
    long = _long_side(survey.sizes)
    width, cells, what = decisive(survey.objects)
    needed = cells * CELL / width
    size = next((size for size in SIZES if size >= least and size >= needed * long), None)
    if size is None and least == most >= needed * long:
        size = least  # as the user says
    scale = next((scale for scale in SCALES if scale >= needed), SCALES[-1])
    if size is not None and size <= most or scale * long <= most:
        size = min(size or most, most)
        seen = width * size / long
        reason = f'whole images, in which {what} are {seen:.0f} px wide: {seen / CELL:.1f} cells'
        return Sizes(_shape(survey.sizes, size), None, reason)
    reason = (
        f'windows: in whole images of this size {what} would be {width * most / long:.1f} px wide, '
        f'less than {cells} cells of the mask'
    )
    return Sizes((most, most), scale, reason)


def decisive(objects: ObjectFacts) -> tuple[float, int, str]:
    """Whose width decides: in pixels of the image; how many cells they need; what they are."""
    narrow, usual = objects.width
    if NARROW / narrow >= USUAL / usual:
        return narrow, NARROW, 'the narrowest tenth of the objects'
    return usual, USUAL, 'usual objects'


def unseen_classes(survey: Survey, sizes: Sizes, names: Sequence[str]) -> str | None:
    """A word on the class whose objects are too narrow for the size, if there is one."""
    scale = sizes.windows or max(sizes.image_size) / _long_side(survey.sizes)
    number, width = survey.objects.narrowest
    if len(names) == 2 or width * scale >= NARROW * CELL:
        return None
    return (
        f'{names[number]} is {width * scale:.1f} px wide in the network, '
        f'{width * scale / CELL:.1f} cells of its mask: a larger --image-size would show it better'
    )


def _long_side(sizes: Counter[tuple[int, int]]) -> int:
    """The median long side."""
    sides = sorted(max(shape) for shape in sizes.elements())
    return sides[len(sides) // 2]


def _shape(sizes: Counter[tuple[int, int]], long: int) -> tuple[int, int]:
    """(H, W) of the network's input with this long side: the images' shape in whole patches, if
    nearly all have one; else a square."""
    by_shape: Counter[tuple[int, int]] = Counter()
    for (height, width), count in sizes.items():
        factor = long / max(height, width)
        sides = (math.ceil(side * factor / PATCH - 0.25) * PATCH for side in (height, width))
        by_shape[tuple(max(PATCH, side) for side in sides)] += count
    shape, count = by_shape.most_common(1)[0]
    return shape if count >= ALIKE * sizes.total() else (long, long)


def number_of_windows(survey: Survey, sizes: Sizes) -> int:
    """Of a usual image, as validation slides them."""
    if sizes.windows is None:
        return 1
    shape = survey.sizes.most_common(1)[0][0]
    number = 1
    for side, window in zip(shape, sizes.image_size, strict=True):
        left, step = round(side * sizes.windows) - window, max(1, window * 2 // 3)
        number *= 1 + max(0, -(-left // step))
    return number


def loss_choice(survey: Survey) -> Choice:
    shares = survey.objects.shares
    if len(shares) > 2:
        return Choice('SetPredictionLoss', 'a mask for each class, matched as in Mask2Former')
    return Choice(
        'StructureLoss',
        f'BCE and IoU, weighted at edges: the object covers {shares[1]:.2%} of the pixels',
    )
