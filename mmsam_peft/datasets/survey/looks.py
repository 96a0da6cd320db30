"""What mask files hold, before anybody says what it means."""

from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from ..image_files import LOSSY, bits_per_value, open_image, upright

MOST_COLOURS = 512
"""Of one file that are counted; a photograph has more."""
LEAST_INNER = 0.1
"""Share of a class's pixels that have such neighbours, unless it is of thin lines alone."""
FEW_OBJECTS, ONE_PIECE = 4, 0.9
Colour = tuple[int, ...]
"""(red, green, blue)"""


@dataclass
class MaskLook:
    """Values, and how many pixels have each, of one file or of several.

    Attributes:
        levels: pixels by value, of files of one band and of grey ones.
        colours: pixels by colour, of the others; the most frequent of each file.
        inner: of both, the pixels with neighbours of their own value: few on soft edges.
        pixels: how many were looked at.
        palette: colour by index, of palette files.
        kinds: number of files by kind, such as 'palette PNG'.
        lossy: files whose compression changes values.
        transparent: files that show their mask by transparency: levels 0 and 255.
        many: files of more than ``FEW_OBJECTS`` values ...
        numbered: ... and those of them that number their objects, each value in one piece.
    """

    levels: Counter[float] = field(default_factory=Counter)
    colours: Counter[Colour] = field(default_factory=Counter)
    inner: Counter[float | Colour] = field(default_factory=Counter)
    pixels: int = 0
    palette: dict[int, Colour] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    lossy: int = 0
    transparent: int = 0
    many: int = 0
    numbered: int = 0

    def join(self, other: 'MaskLook') -> None:
        for name in ('levels', 'colours', 'inner', 'kinds'):
            getattr(self, name).update(getattr(other, name))
        self.palette |= other.palette
        for name in ('pixels', 'lossy', 'transparent', 'many', 'numbered'):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def all_as_colours(self) -> Counter[Colour]:
        """With the levels of grey files among coloured ones."""
        grey = {(int(level),) * 3: count for level, count in self.levels.items()}
        return Counter(grey) + self.colours

    def on_edges(self, value: float | Colour) -> bool:
        """Whether a value is seen at the edges of others only: soft ones, not a class."""
        count = self.levels[value] + self.colours[value]
        return self.inner[value] < LEAST_INNER * count


def look_at(content: bytes) -> MaskLook:
    """The values of one file. ValueError, or an error of its decoder, where it cannot be read."""
    with open_image(content) as image:
        stored, lossy, bits = image.format, image.format in LOSSY, bits_per_value(image)
        image = upright(image)
        kind, pixels, palette, transparent = _pixels(image, bits)
    look = MaskLook(
        pixels=pixels.shape[0] * pixels.shape[1],
        palette=palette,
        kinds=Counter([f'{kind} {stored}']),
        lossy=int(lossy),
        transparent=int(transparent),
    )
    grey = pixels.ndim == 2
    look.many = int(grey and not lossy and len(np.unique(pixels)) > FEW_OBJECTS)
    look.numbered = int(look.many and _numbers_objects(pixels))
    codes = pixels if grey else pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    values, counts = np.unique(codes, return_counts=True)
    here = codes[:-1, :-1]
    inside = here[(here == codes[1:, :-1]) & (here == codes[:-1, 1:])]
    inner = dict(zip(*np.unique(inside, return_counts=True), strict=True))
    for i in np.argsort(counts, kind='stable')[::-1][: None if grey else MOST_COLOURS]:
        value = values[i].item()
        key = value if grey else (value >> 16, value >> 8 & 255, value & 255)
        (look.levels if grey else look.colours)[key] = int(counts[i])
        look.inner[key] = int(inner.get(values[i], 0))
    return look


def _numbers_objects(pixels: np.ndarray) -> bool:
    """Whether the values (H, W) are 0 or 1 to N without a gap, and nearly all are in one piece: as
    where each object has a number, not each class."""
    values = np.unique(pixels)
    last = int(values[-1])
    if values[0] not in (0, 1) or len(values) != last + (values[0] == 0):
        return False
    pieces = [
        cv2.connectedComponents((pixels == value).astype(np.uint8))[0] - 1
        for value in values
        if value
    ]
    return pieces.count(1) >= ONE_PIECE * len(pieces)


def _pixels(image: Image.Image, bits: int) -> tuple[str, np.ndarray, dict[int, Colour], bool]:
    """Kind; levels (H, W) or colours (H, W, 3); palette; whether transparency shows the mask."""
    if image.has_transparency_data:
        alpha = np.asarray(image.convert('RGBA'))[..., 3]
        if (alpha < 255).any():
            return 'transparent', np.where(alpha < 128, 0, 255), {}, True
        image = image.convert('RGB') if image.mode == 'RGBA' else image
    if image.mode in ('P', 'PA'):
        indices = np.asarray(image)
        table = image.getpalette('RGB') or []
        palette = {
            int(index): tuple(table[3 * index : 3 * index + 3])
            for index in np.unique(indices)
            if 3 * index + 3 <= len(table)
        }
        return 'palette', indices, palette, False
    if len(image.getbands()) == 1:
        pixels = np.asarray(image)
        if bits in (2, 4) and image.mode == 'L':
            pixels = pixels // (255 // (2**bits - 1))  # Pillow stretches them to 0 .. 255
        return 'grey', pixels.astype(np.uint8) if pixels.dtype == bool else pixels, {}, False
    pixels = np.asarray(image.convert('RGB'))
    if (pixels == pixels[..., :1]).all():
        return 'grey', pixels[..., 0], {}, False
    return 'colour', pixels, {}, False
