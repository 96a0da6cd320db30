"""How the masks of a folder are stored, found out by looking at some of them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import label

from ..checks.problems import DatasetError, reason
from ..image_files import LOSSY, bits_per_value, open_image, upright
from ..transforms.masks import COLOUR, DARK, MaskValues

LOOKED_AT = 100
"""Masks, spread over the folder."""
MOST_COLOURS = 254
FEW = 2
"""Values of a mask that is not smoothed at its edges."""
OBJECTS = 4
"""Number of objects in a mask from which numbers are taken for those of objects ..."""
ONE_PIECE = 0.9
"""... if so many of them are in one piece."""


@dataclass(frozen=True)
class MaskKind:
    """Args:
    name: in words.
    values: ``mask_values`` of :class:`FolderDataset`.
    categories: names; numbers or colours, where masks have no names.
    background: whether the first number or colour is no category.
    """

    name: str
    values: MaskValues
    categories: tuple[str, ...]
    background: bool = True


@dataclass
class _Seen:
    """What the masks that were looked at have in common."""

    modes: set[str] = field(default_factory=set)
    bits: int = 1
    values: set[int] = field(default_factory=set)
    """Of masks of one band."""
    colours: set[tuple[int, int, int]] = field(default_factory=set)
    lossy: bool = False
    transparent: bool = False
    numbered: list[bool] = field(default_factory=list)
    """Whether a mask has the numbers 0, 1, ... N, and each in one piece."""


def mask_kind(paths: list[Path]) -> MaskKind:
    """Looks at some of the masks. DatasetError for what cannot be masks, or can mean two things."""
    seen = _Seen()
    for path in paths[:: max(1, len(paths) // LOOKED_AT)]:
        try:
            with open_image(path.read_bytes()) as image:
                _look(image, seen)
        except Exception as error:  # each of PIL's decoders has its own
            raise DatasetError(f'mask {path}: {reason(error)}') from error
    try:
        return _kind(seen)
    except ValueError as error:
        raise DatasetError(f'the masks in {paths[0].parent}: {error}') from None


def _look(image: Image.Image, seen: _Seen) -> None:
    seen.lossy |= image.format in LOSSY
    seen.bits = max(seen.bits, bits_per_value(image))
    image = upright(image)
    seen.modes.add(image.mode)
    if len(image.getbands()) == 1:
        pixels = np.asarray(image)
        if pixels.dtype.kind == 'f' and not (pixels == np.rint(pixels)).all():
            raise ValueError('got fractions, expected whole numbers')
        values, counts = np.unique(pixels.astype(np.int64), return_counts=True)
        seen.values.update(values.tolist())
        if pixels.max() > 1 and len(values) > OBJECTS:
            seen.numbered.append(_is_numbered(pixels, values))
        if image.mode != 'P':
            return
    if image.has_transparency_data:
        alpha = np.asarray(image.convert('RGBA'))[..., 3]
        seen.transparent |= bool((alpha < 255).any())
    colours = np.asarray(image.convert('RGB')).reshape(-1, 3)
    if seen.lossy:
        grey = (colours.max(-1).astype(int) - colours.min(-1) <= COLOUR).all()
        seen.colours |= {(0, 0, 0)} if grey else {(0, 0, 0), (255, 0, 0)}
    elif len(seen.colours) <= MOST_COLOURS:
        seen.colours |= set(map(tuple, np.unique(colours, axis=0).tolist()))


def _is_numbered(pixels: np.ndarray, values: np.ndarray) -> bool:
    last = int(values[-1])
    if values[0] not in (0, 1) or len(values) != last + (values[0] == 0):
        return False
    whole = sum(label(pixels == value, np.ones((3, 3)))[1] == 1 for value in range(1, last + 1))
    return whole >= ONE_PIECE * last


def _kind(seen: _Seen) -> MaskKind:
    one = ('object',)
    coloured = any(len(set(colour)) > 1 for colour in seen.colours)
    if seen.lossy:
        if coloured:
            raise ValueError('got coloured JPEGs, whose compression changes colours: export PNGs')
        return MaskKind('grey JPEG, from 128 on', 'binary255', one)
    if seen.transparent:
        return MaskKind('RGBA, what is not transparent', 'binary255', one)
    if seen.modes == {'P'} and coloured:
        return _index(seen.values, 'numbers with a palette')
    if seen.modes <= {'P', '1'} or not seen.colours or not seen.values - {0, 255}:
        if seen.values:
            return _one_band(seen)
    if not coloured:
        seen.values |= {colour[0] for colour in seen.colours}
        return _one_band(seen, 'grey stored as RGB')
    if len(seen.colours) > MOST_COLOURS:
        raise ValueError(
            f'got more than {MOST_COLOURS} colours, as of pictures or smoothed masks, expected a '
            'colour for each class'
        )
    colours = sorted(seen.colours)
    black = colours[0] == (0, 0, 0)
    names = tuple(f'#{r:02x}{g:02x}{b:02x}' for r, g, b in colours[black:])
    return MaskKind('RGB colours', [list(colour) for colour in colours], names, black)


def _one_band(seen: _Seen, words: str = '') -> MaskKind:
    one, values = ('object',), seen.values
    if min(values) < 0:
        raise ValueError(f'got values from {min(values)}, expected none below 0')
    top = max(values)
    depth = f'{seen.bits}-bit ' if seen.bits > 8 else ''
    ending = f', {words}' if words else ''
    if seen.numbered and all(seen.numbered):
        return MaskKind(f'{depth}numbers of objects up to {top}{ending}', 'binary01', one)
    if values <= {0, 1}:
        return MaskKind(f'{depth}0 and 1{ending}', 'index', one)
    if values <= {0, 255}:
        return MaskKind(f'grey, 0 and 255{ending}', 'binary255', one)
    if len(values) <= FEW and 0 in values and top <= 255:
        return MaskKind(f'{depth}0 and {top}{ending}', 'binary01', one)
    if top > 255:
        return MaskKind(f'{depth}numbers of objects up to {top}{ending}', 'binary01', one)
    classes = values - {255}
    smoothed = len(values) > 32 and {0, 255} <= values and min(classes - {0}) < DARK
    if smoothed and _is_spread(values):
        return MaskKind(f'grey, 0 to 255 with smoothed edges{ending}', 'binary255', one)
    return _index(values, f'{depth}numbers of classes{ending}')


def _is_spread(values: set[int]) -> bool:
    """Whether values lie over all of 0 to 255, as of no list of classes."""
    return all(any(low <= value < low + 32 for value in values) for low in range(0, 256, 32))


def _index(values: set[int], words: str) -> MaskKind:
    last = max((value for value in values if value != 255), default=0)
    if last == 0:
        raise ValueError('got masks of 0 and 255 with a palette, expected numbers of classes')
    return MaskKind(
        f'{words}, 0 to {last}', 'index', tuple(str(number) for number in range(1, last + 1))
    )
