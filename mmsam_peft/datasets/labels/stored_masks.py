"""Annotations that are images themselves, a mask or several for each image."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ...tasks.base import IGNORE
from ..checks.problems import reason
from ..image_files import LOSSY, open_image, upright
from ..transforms.masks import DARK, MaskValues, mask_to_classes
from .annotations import Annotations
from .image_list import ImageList
from .mask_kinds import MaskKind, mask_kind

ENDINGS = re.compile(
    r'[_-](mask|masks|seg|segmentation|label|labels|labelIds|gt|L)$', re.IGNORECASE
)
"""What names of masks have that those of images have not."""


class StoredMasks(Annotations):
    """Masks whose values are the numbers of categories, from 1 on.

    Subclasses note masks by image in ``entries`` and give :meth:`numbers`.
    """

    def numbers(self, mask: Path) -> np.ndarray:
        """Numbers of categories (H, W), 0 for none, 255 for ignored pixels. ValueError."""
        raise NotImplementedError

    def place(self, image: str) -> str:
        return str(self.entries[image])

    def files(self, image: str) -> list[str]:
        return [self.place(image)]

    def mask(self, image: str | Path) -> np.ndarray:
        image = self._known(image)
        try:
            numbers = self.numbers(self.entries[image])
        except ValueError:
            raise
        except Exception as error:  # each of PIL's decoders has its own
            raise ValueError(reason(error)) from error
        self._size(image, numbers.shape)
        table, faults = np.zeros(256, np.uint8), []
        table[IGNORE] = IGNORE
        for number in np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)[1:IGNORE]) + 1:
            try:
                if number > len(self.categories):
                    raise ValueError(
                        f'got the number {number}, but there are {len(self.categories)} categories'
                    )
                table[number] = self.value_of(self.categories[number - 1]) or 0
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError('; '.join(faults))
        return table[numbers]


class MaskFolder(StoredMasks):
    """A folder of masks named as their images, of any kind that :func:`mask_kind` knows.

    Attributes:
        kind: how the masks are stored.
        mask_values: the same for :class:`FolderDataset`.
    """

    format = 'masks'

    def __init__(self, path: Path, image_list: ImageList, masks: list[tuple[str, Path]]) -> None:
        super().__init__(path, image_list)
        self.kind: MaskKind = mask_kind([file for _, file in masks])
        self.categories, self.mask_values = self.kind.categories, self.kind.values
        self.title = f'masks, {self.kind.name}'
        for name, file in masks:
            self._add(name, file, ENDINGS.sub('', name))
        self._finish()

    def numbers(self, mask: Path) -> np.ndarray:
        return stored_numbers(mask, self.mask_values, self.kind.background)


def stored_numbers(mask: Path, values: MaskValues, background: bool = True) -> np.ndarray:
    """Numbers of categories in a mask file; of a list of colours, the first is no category where
    it is the background."""
    with open_image(mask.read_bytes()) as opened:
        numbers = mask_to_classes(opened, values)
    return numbers if background else np.where(numbers == IGNORE, IGNORE, numbers + 1)


class ObjectMasks(Annotations):
    """A folder for each image, with a mask for each of its objects: all of them together are the
    category ``object``."""

    format, title = 'object-masks', 'a mask file for each object'
    categories = ('object',)

    def __init__(self, path: Path, image_list: ImageList, masks: dict[str, list[Path]]) -> None:
        super().__init__(path, image_list)
        for name, files in masks.items():
            self._add(f'{name}/{Path(name).name}', files, name)
        self._finish()

    def place(self, image: str) -> str:
        return str(self.entries[image][0].parent)

    def files(self, image: str) -> list[str]:
        return [str(file) for file in self.entries[image]]

    def mask(self, image: str | Path) -> np.ndarray:
        image = self._known(image)
        size = self._size(image)
        inside = np.zeros(size, bool)
        for file in self.entries[image]:
            try:
                found = read_object(file)
            except Exception as error:  # each of PIL's decoders has its own
                raise ValueError(f'{file.name}: {reason(error)}') from error
            self._size(image, found.shape)
            inside |= found
        return np.where(inside, self.value_of('object') or 0, 0).astype(np.uint8)


def read_object(file: Path) -> np.ndarray:
    """Where a mask of one object is: anything but black, or grey from 128 on in a JPEG."""
    with open_image(file.read_bytes()) as image:
        jpeg = image.format in LOSSY
        image = upright(image)
        grey = image if image.mode in ('1', 'I', 'F') or image.mode.startswith('I;') else None
        pixels = np.asarray(grey if grey is not None else image.convert('L'))
    return pixels >= (DARK if jpeg else 1)


def colours_of(image: Image.Image) -> np.ndarray:
    """RGB (H, W, 3) of an image as it is shown."""
    return np.asarray(upright(image).convert('RGB'))
