"""What the values of a set's masks mean: class numbers, black and white, colours."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageColor

from ..checks.problems import DatasetError
from ..transforms.masks import DARK, MASK_VALUES, MaskValues
from .looks import Colour, MaskLook

IGNORED = 255
FEW = 40
"""Colours or grey levels that can all be classes."""
TOLERANCE = 40
"""By how much each channel of a pixel may differ from its class's colour in JPEG or blended
masks."""
ALL_NUMBERED = 0.9
"""Share of the masks of many values in which they number objects."""
LEAST_SHARE = 0.002
"""Of the pixels, for a colour of such masks that is a class and not a blend of others."""
NEAR = 32
"""Grey levels this near to 0 or 255 are black or white with noise."""


class ObjectMasksError(DatasetError):
    """Masks of single objects: see ``labels/stored_masks.py``, which joins them."""


@dataclass(frozen=True)
class Encoding:
    """How masks are stored.

    Attributes:
        mask_values: as ``FolderDataset`` takes it; None for annotations.
        classes: names, where the files say so or the values are colours; else made up.
        palette: a colour for each class, where the files have some; else empty.
        words: what the masks are, for people.
        doubt: what only a person can know, and what was taken; None if all is clear.
    """

    mask_values: MaskValues | dict | None
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    words: str
    doubt: str | None = None


def find_encoding(look: MaskLook) -> Encoding:
    """What the values of all masks together can mean.

    Raises:
        DatasetError: all masks are empty, or hold something else than classes.
    """
    if look.colours:
        return _of_colours(look)
    if look.many and look.numbered >= ALL_NUMBERED * look.many:
        raise ObjectMasksError('got masks that number their objects, expected classes')
    values = sorted(look.levels)
    if len(values) < 2:
        raise DatasetError(
            f'got only the value {", ".join(f"{value:g}" for value in values)} in all masks that '
            'were looked at, expected two classes at least: the masks are empty, or a viewer '
            'shows values that these files do not hold; export them again'
        )
    if any(value != int(value) or value < 0 for value in values):
        raise DatasetError(
            f'got masks with values from {values[0]:g} to {values[-1]:g}, with fractions or below '
            '0, expected class numbers, black and white, or colours: export them as 8-bit PNG'
        )
    return _of_levels([int(value) for value in values], look)


def _of_levels(values: list[int], look: MaskLook) -> Encoding:
    stored = _listed(look)
    if look.transparent:
        return _binary('binary255', f'{stored} that show the object, the rest is transparent')
    if set(values) <= {0, 1}:
        return _binary('index', f'{stored} of 0 and 1: background and object')
    if set(values) == {0, IGNORED}:
        return _binary('binary255', f'{stored} of 0 and 255: background and object')
    numbers = [value for value in values if value != IGNORED]
    ignored = ', 255 is ignored' if IGNORED in values else ''
    if set(numbers) == {0, 1}:
        return _binary('index', f'{stored} of 0 and 1: background and object{ignored}')
    if len(values) == 2 and values[0] == 0:
        return _binary('binary01', f'{stored} of 0 and {values[1]}: background and object')
    extremes = sum(
        count for level, count in look.levels.items() if not NEAR < level < IGNORED - NEAR
    )
    between = [value for value in values if 0 < value < IGNORED]
    noisy = look.lossy or len(values) > FEW
    soft = values[-1] == IGNORED and all(map(look.on_edges, between))
    if values[-1] <= IGNORED and extremes > 0.9 * look.pixels and (noisy or soft):
        share = 1 - extremes / look.pixels
        return _binary(
            'binary255',
            f'{stored} of black and white with {share:.1%} grey between ({len(values)} values, '
            f'JPEG noise or soft edges): from {DARK} on it is the object',
        )
    if values[-1] > IGNORED or len(values) > FEW and not _dense(numbers):
        raise DatasetError(
            f'got {len(values)} different values from {values[0]} to {values[-1]} in the masks, '
            'expected class numbers up to 254, black and white, or colours: these may be depth, '
            'probabilities, or numbers of single objects; export class masks'
        )
    if numbers[0] == 0 and _dense(numbers):
        count = numbers[-1] + 1
        return Encoding(
            'index',
            _numbered(count),
            _palette(count, look.palette),
            f'{stored} of class numbers 0 to {numbers[-1]}{ignored}',
        )
    return _grey_codes(values, stored)


def _grey_codes(values: list[int], stored: str) -> Encoding:
    listed = ', '.join(map(str, values))
    doubt = (
        f'{len(values)} grey values, {listed}: is each a class of its own? Taken so; with '
        "--mask-values binary255, those from 128 are one object, with 'binary01' all but 0"
    )
    colours = [(value,) * 3 for value in values]
    names = ('background', *(f'grey {value}' for value in values[1:]))
    return Encoding(
        [list(colour) for colour in colours],
        names if values[0] == 0 else tuple(f'grey {value}' for value in values),
        (),
        f'{stored} of the grey values {listed}',
        doubt,
    )


def _of_colours(look: MaskLook) -> Encoding:
    counts, stored = look.all_as_colours(), _listed(look)
    seldom = [colour for colour in counts if look.on_edges(colour)]
    blended = look.lossy or len(counts) > FEW or len(seldom) > 1
    colours = _main_colours(counts) if blended else [colour for colour, _ in counts.most_common()]
    if blended and not look.lossy:
        colours = [colour for colour in colours if colour not in seldom]
    seen = sum(counts[colour] for colour in counts if _is_near(colour, colours))
    if len(colours) < 2 or len(colours) > FEW or seen < 0.9 * look.pixels:
        raise DatasetError(
            f'got masks of {len(counts)} colours or more, in which no few stand out, expected one '
            'colour for each class: these look like photographs or overlays; export class masks'
        )
    if blended:
        colours = [tuple(map(_snapped, colour)) for colour in colours]
    black = (0, 0, 0)
    if blended and set(colours) == {black, (255, 255, 255)}:
        return _binary('binary255', f'{stored} of black and white with noise or soft edges')
    first = black if black in colours else colours[0]
    ordered = [first, *sorted(colour for colour in colours if colour != first)]
    listed = [list(colour) for colour in ordered]
    rest = look.pixels - seen
    words = f'{stored} of {len(ordered)} colours'
    if blended:
        words += (
            f', with JPEG noise or soft edges: pixels within {TOLERANCE} of a colour are its '
            f'class, the rest ({rest / look.pixels:.1%}) is ignored'
        )
    names = ['background' if first == black else colour_name(first)]
    return Encoding(
        dict(colours=listed, tolerance=TOLERANCE) if blended else listed,
        tuple([*names, *(colour_name(colour) for colour in ordered[1:])]),
        tuple(ordered),
        words,
    )


def _main_colours(counts: Counter[Colour]) -> list[Colour]:
    """The colours that others are noise around, or blends of."""
    peaks: dict[Colour, int] = {}
    for colour, count in counts.most_common():
        near = next((peak for peak in peaks if _is_near(colour, [peak])), None)
        peaks[near or colour] = peaks.get(near or colour, 0) + count
    total, mains = counts.total(), []
    for colour, count in sorted(peaks.items(), key=lambda item: -item[1]):
        if count >= LEAST_SHARE * total and not _is_blend(colour, mains, count / total):
            mains.append(colour)
    return mains


def _snapped(channel: int) -> int:
    """0 or 255 where noise keeps a channel just off it."""
    return 0 if channel < 8 else 255 if channel > 247 else channel


def _is_near(colour: Colour, others: Sequence[Colour]) -> bool:
    return any(
        max(abs(a - b) for a, b in zip(colour, other, strict=True)) <= TOLERANCE for other in others
    )


def _is_blend(colour: Colour, mains: Sequence[Colour], share: float) -> bool:
    """Whether a rare colour lies between two of the others."""
    if share > 0.02:
        return False
    point = np.array(colour, float)
    for i, first in enumerate(mains):
        for second in mains[:i]:
            line = np.subtract(second, first).astype(float)
            place = np.clip((point - first) @ line / (line @ line), 0, 1)
            if np.abs(point - first - place * line).max() <= TOLERANCE // 2:
                return True
    return False


def as_said(mask_values: str, look: MaskLook) -> Encoding:
    """The encoding that a person names: 'index', 'binary01', 'binary255' or 'colours'."""
    stored = _listed(look)
    if mask_values == 'colours':
        return _of_colours(look)
    if mask_values not in MASK_VALUES:
        raise DatasetError(
            f'got mask_values={mask_values!r}, expected one of {", ".join(MASK_VALUES)}, colours'
        )
    if mask_values != 'index':
        return _binary(mask_values, f'{stored}, read as {mask_values!r}')
    numbers = [int(value) for value in look.levels if value != IGNORED]
    count = max(numbers, default=0) + 1
    if count <= 2:
        return _binary('index', f'{stored}, read as class numbers')
    return Encoding(
        'index',
        _numbered(count),
        _palette(count, look.palette),
        f'{stored}, read as class numbers 0 to {count - 1}',
    )


def _binary(mask_values: str, words: str) -> Encoding:
    return Encoding(mask_values, ('background', 'object'), ((0, 0, 0), (0, 255, 0)), words)


def _dense(numbers: Sequence[int]) -> bool:
    """Whether class numbers up to the largest would leave few of them unused."""
    return len(numbers) >= 0.3 * (numbers[-1] + 1)


def _numbered(count: int) -> tuple[str, ...]:
    return ('background', *(f'class {number}' for number in range(1, count)))


def _palette(count: int, stored: dict[int, Colour]) -> tuple[Colour, ...]:
    """The colours of palette files, if each class has its own."""
    own = [stored[number] for number in range(count) if number in stored]
    return tuple(own) if len(set(own)) == count else ()


def colour_name(colour: Colour) -> str:
    """CSS's name of a colour, or its hexadecimal number."""
    code = '#{:02x}{:02x}{:02x}'.format(*colour)
    names = [name for name, value in ImageColor.colormap.items() if value == code]
    return min(names, key=len) if names else code


def _listed(look: MaskLook) -> str:
    return ' and '.join(kind for kind, _ in look.kinds.most_common(3)) + ' masks'
