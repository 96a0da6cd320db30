"""Pascal VOC's folders of masks, and CVAT's "segmentation mask 1.1", which are alike."""

from functools import cached_property
from pathlib import Path

import numpy as np

from ...tasks.base import IGNORE
from ..checks.problems import DatasetError, short
from ..image_files import LOSSY, open_image, upright
from .annotations import BACKGROUND, IGNORED
from .image_list import ImageList
from .label_files import files_of, lines_of, names_file
from .stored_masks import StoredMasks, colours_of

VOC = (
    *('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow'),
    *('diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa'),
    *('train', 'tvmonitor'),
)
VOID = 224, 224, 192
"""The colour of ignored pixels."""
CLASS, OBJECT = 'SegmentationClass', 'SegmentationObject'
MAP, NAMES = 'labelmap.txt', 'class_names.txt'


class Voc(StoredMasks):
    """``SegmentationClass``, or ``SegmentationObject`` where it is named or the only one: numbers
    with VOC's palette, or RGB in its colours. 255 is ignored. ``class_names.txt``, as LabelMe's
    converter writes it, takes the place of VOC's own categories.

    Of ``SegmentationObject`` all objects are the category ``object``.
    """

    format, title = 'voc', 'Pascal VOC masks'

    def __init__(self, path: Path, image_list: ImageList, masks: Path) -> None:
        super().__init__(path, image_list)
        self.folder = masks
        self.merged = masks.name == OBJECT
        for file in files_of(masks, '.png'):
            self._add(file.relative_to(masks).with_suffix('').as_posix(), file)
        self._finish()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        if self.merged:
            return ('object',)
        listed = names_file(self.folder.parent, NAMES, levels=1)
        return tuple(_without_background(lines_of(listed))) if listed else VOC

    @cached_property
    def colours(self) -> dict[tuple[int, int, int], int]:
        """The number of each colour; the palette of VOC."""
        return {palette_colour(number): number for number in range(IGNORE)} | {VOID: IGNORE}

    def numbers(self, mask: Path) -> np.ndarray:
        with open_image(mask.read_bytes()) as image:
            if image.format in LOSSY:
                raise ValueError(f'got a {image.format}, whose compression changes values')
            indices = image.mode in ('P', 'L', '1')
            if indices and self.format == 'voc':
                numbers = np.asarray(upright(image)).astype(np.uint8)
            else:
                numbers = self._match(colours_of(image))
        if self.merged:
            return np.where((numbers > 0) & (numbers < IGNORE), 1, numbers).astype(np.uint8)
        return numbers

    def _match(self, colours: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W)."""
        if self.merged:  # objects have colours of any list
            black, void = (colours == 0).all(-1), (colours == VOID).all(-1)
            return np.where(black, 0, np.where(void, IGNORE, 1)).astype(np.uint8)
        codes = colours.astype(np.int64) @ (1 << 16, 1 << 8, 1)
        found, places = np.unique(codes, return_inverse=True)
        table, unknown = np.zeros(len(found), np.uint8), []
        for place, code in enumerate(found.tolist()):
            colour = (code >> 16, code >> 8 & 255, code & 255)
            if colour in self.colours:
                table[place] = self.colours[colour]
            else:
                unknown.append(str(colour))
        if unknown:
            raise ValueError(
                f'got the colours {short(", ".join(unknown[:5]))}, which {self._list_of_colours} '
                'lacks'
            )
        return table[places.reshape(codes.shape)]

    _list_of_colours = "VOC's palette"


class CvatMasks(Voc):
    """Masks in the colours of ``labelmap.txt``, whose order is that of the categories; background
    and what it does not name as VOC's void colour are no category."""

    format, title = 'cvat-masks', 'CVAT segmentation mask 1.1'
    _list_of_colours = MAP

    def __init__(self, path: Path, image_list: ImageList, masks: Path) -> None:
        self.named = read_label_map(masks.parent / MAP)
        super().__init__(path, image_list, masks)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return ('object',) if self.merged else tuple(_without_background(self.named))

    @cached_property
    def colours(self) -> dict[tuple[int, int, int], int]:
        numbers = {name: number for number, name in enumerate(self.categories, start=1)}
        colours = {colour: numbers.get(name, 0) for name, colour in self.named.items()}
        colours |= {colour: IGNORE for name, colour in self.named.items() if name == IGNORED}
        return {VOID: IGNORE} | colours


def read_label_map(path: Path) -> dict[str, tuple[int, int, int]]:
    """The colour of each name: lines ``name:r,g,b:parts:actions``. DatasetError."""
    named = {}
    for line in lines_of(path):
        if line.startswith('#'):
            continue
        name, _, rest = line.partition(':')
        try:
            colour = tuple(map(int, rest.split(':')[0].split(',')))
        except ValueError:
            colour = ()
        if len(colour) != 3:
            raise DatasetError(f'{path}: got {short(line)}, expected name:r,g,b:parts:actions')
        named[name] = colour
    if twice := [name for name, colour in named.items() if list(named.values()).count(colour) > 1]:
        raise DatasetError(f'{path}: got one colour for {", ".join(twice)}, expected one each')
    return named


def _without_background(names) -> list[str]:
    return [name for name in names if name.lower() not in (*BACKGROUND, IGNORED)]


def palette_colour(number: int) -> tuple[int, int, int]:
    """VOC's colour of a number: its bits, three by three, become the highest of red, green and
    blue."""
    red = green = blue = 0
    for place in range(8):
        red |= (number >> 3 * place & 1) << 7 - place
        green |= (number >> 3 * place + 1 & 1) << 7 - place
        blue |= (number >> 3 * place + 2 & 1) << 7 - place
    return red, green, blue
