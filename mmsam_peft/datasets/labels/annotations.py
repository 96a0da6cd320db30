"""What every format of annotations gives: images, categories in order, and a mask of each image."""

import copy
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from ...tasks.base import IGNORE
from ..checks.problems import (
    AMBIGUOUS,
    ANNOTATED_TWICE,
    NO_ANNOTATED_IMAGE,
    DatasetError,
    short,
)
from .image_list import ImageList, require_size, shown
from .shapes import Polygons, Shape

BACKGROUND = ('background', '_background_', '__background__')
"""Names of what is no category."""
IGNORED = '__ignore__'
"""LabelMe's name for pixels that do not count."""
OTHERS = dict(error='error', background=None, ignore=IGNORE)
FAULTS_LISTED = 3


@dataclass(frozen=True)
class Object:
    """Args:
    name: what messages call it.
    shape: its area in an image of a size (H, W); ValueError when it has none.
    crowd: pixels that do not count, where nothing else lies on them.
    """

    name: str
    category: str
    shape: Callable[[tuple[int, int]], Shape]
    crowd: bool = False


class Annotations:
    """Annotations of one format, read where they lie: an image's only when its mask is asked for.

    Attributes:
        format: the format's short name, such as 'coco'.
        categories: names in the order of the format's own list.
        problems: kind of problem -> a line for each, as of :class:`FolderDataset`.
        notes: what is worth knowing and no fault.
    """

    format = ''
    title = ''
    """The format's name in messages."""

    def __init__(self, path: str | Path, image_list: ImageList) -> None:
        self.path, self.image_list = Path(path), image_list
        self.problems: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.entries: dict[str, object] = {}
        """By image: what the format needs to find its annotation."""
        self._chosen: dict[str, int | None] | None = None
        self._others: int | str | None = 'error'
        self._said: set[str] = set()

    def __deepcopy__(self, memo: dict) -> 'Annotations':
        return self  # samples carry it through pipelines, which copy them

    @property
    def images(self) -> list[str]:
        """Paths of the annotated images, in the format's order."""
        return list(self.entries)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        raise NotImplementedError

    def mask(self, image: str | Path) -> np.ndarray:
        """uint8 (H, W) of an image as it is shown: 0 = background, 1, 2, ... = categories or, after
        :meth:`select`, classes, 255 = ignored.

        Raises:
            ValueError: annotations that cannot be what is meant, all of the image's in one line.
        """
        raise NotImplementedError

    def place(self, image: str) -> str:
        """Where an image's annotation is, for messages."""
        return f'{self.path} for {Path(image).name}'

    def files(self, image: str) -> list[str]:
        """The files that an image's mask depends on."""
        return [str(self.path)]

    def describe(self) -> str:
        """What was found, in a sentence."""
        return (
            f'{self.title}: {len(self.entries)} annotated images in {self.image_list.folder}, '
            f'{len(self.categories)} categories ({short(", ".join(self.categories))})'
        )

    def select(
        self,
        classes: Sequence[str],
        categories: Mapping[str, str | Sequence[str]] | None = None,
        others: str = 'error',
    ) -> 'Annotations':
        """The same annotations with masks of these classes.

        Args:
            classes: names in the order of their numbers; the first, 0, is where no object is.
            categories: of a class, the category or categories it consists of. Default: the one of
                the same name.
            others: what objects of any other category are: an 'error', 'background' (as if they
                were not there) or 'ignore'.

        Raises:
            DatasetError: classes and categories that do not fit.
        """
        if others not in OTHERS:
            raise DatasetError(f'got others={others!r}, expected one of {list(OTHERS)}')
        if len(classes) > IGNORE:
            raise DatasetError(
                f'got {len(classes)} classes, at most {IGNORE} fit into a mask, in which {IGNORE} '
                'says that a pixel is ignored: leave some out, or join some by categories'
            )
        named = {name: _as_tuple(members) for name, members in (categories or {}).items()}
        if strange := [name for name in named if name not in classes]:
            raise DatasetError(
                f'got categories for {_listing(strange)}, expected names of classes: '
                f'{_listing(classes)}'
            )
        chosen: dict[str, int | None] = {}
        for number, name in enumerate(classes):
            for category in named.get(name, (name,)):
                if chosen.setdefault(category, number) != number:
                    raise DatasetError(f'got the category {category!r} in two classes')
        known = (*self.categories, classes[0], *BACKGROUND, IGNORED)
        if unknown := [name for name in chosen if name not in known]:
            meant = difflib.get_close_matches(unknown[0], self.categories, 1)
            raise DatasetError(
                f'got the category {unknown[0]!r}, expected one of {self.path}: '
                f'{_listing(self.categories)}.'
                f'{f" Do you mean {meant[0]!r}?" if meant else ""} '
                'Correct metainfo.classes, or say in categories what a class consists of'
            )
        selected = copy.copy(self)
        selected._chosen, selected._others = chosen, OTHERS[others]
        return selected

    @cached_property
    def _all(self) -> dict[str, int | None]:
        """The number of each category where none are selected."""
        if len(self.categories) >= IGNORE:
            raise ValueError(
                f'got {len(self.categories)} categories, at most {IGNORE - 1} fit into a mask: '
                'select those you need'
            )
        return {name: number for number, name in enumerate(self.categories, start=1)}

    def value_of(self, category: str) -> int | None:
        """The mask's value; None for what is not drawn. ValueError for what is in no class."""
        values = self._all if self._chosen is None else self._chosen
        if category in values:
            return values[category]
        if category == IGNORED:
            return IGNORE
        if category.lower() in BACKGROUND:
            return 0
        if category not in self.categories:
            raise ValueError(f'got the category {category!r}, which the list of them lacks')
        if isinstance(self._others, str):
            raise ValueError(
                f"got the category {category!r}, which is in no class: name it, or set others='"
                "background' or 'ignore'"
            )
        return self._others

    def values(self) -> dict:
        """What masks depend on beside the files."""
        return dict(chosen=self._all if self._chosen is None else self._chosen, others=self._others)

    def _add(self, name: str, entry: object, *aliases: str) -> None:
        """Notes the annotation of an image by the name that the format gives it."""
        try:
            found = (self.image_list.find(alias) for alias in (name, *aliases))
            image = next((path for path in found if path), None)
        except ValueError as several:
            return self._fault(AMBIGUOUS, str(several))
        if image is None:
            self._fault(NO_ANNOTATED_IMAGE, f'{name} of {self.path}')
        elif image in self.entries:
            self._fault(ANNOTATED_TWICE, f'{name} of {self.path}: {image}')
        else:
            self.entries[image] = entry

    def _fault(self, kind: str, line: str) -> None:
        self.problems.setdefault(kind, []).append(line)

    def _finish(self) -> 'Annotations':
        """To be called when all annotations are noted. DatasetError when no image was found."""
        if not self.entries:
            lines = [line for lines in self.problems.values() for line in lines]
            raise DatasetError(
                f'{self.path}: none of the annotated images is found.\n'
                f'    got       {short("; ".join(lines[:FAULTS_LISTED]) or "no annotations")}\n'
                f'    expected  image files below {self.image_list.folder}, which has '
                f'{len(self.image_list.paths)}\n'
                '    do        name the folder of the images'
            )
        self.image_list.forget_names()
        left = len(self.image_list.paths) - len(self.entries)
        if left:
            example = next(path for path in self.image_list.paths if path not in self.entries)
            self.notes.append(
                f'{left} of {len(self.image_list.paths)} images in {self.image_list.folder} have '
                f'no annotation and are left out, {example} for one'
            )
        return self

    def _known(self, image: str | Path) -> str:
        if str(image) not in self.entries:
            raise ValueError(f'{image}: got an image that {self.path} has no annotation of')
        return str(image)

    def _size(self, image: str, stated: tuple[int, int] | None = None) -> tuple[int, int]:
        """(H, W) of an image as it is shown, which is what the annotations state, if they do."""
        size, turned = shown(image)
        if stated is not None:
            require_size(stated, size, turned)
        if turned:
            self._say_once(
                'turned',
                f'{image}, and maybe others, are turned by their EXIF data: annotations are taken '
                'to fit the images as they are shown',
            )
        return size

    def _say_once(self, kind: str, line: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            print_log(line, 'current', 30)


class ObjectAnnotations(Annotations):
    """Annotations of objects, which are drawn one over the other."""

    ordered = True
    """Whether the file has the order in which a tool shows objects: later ones lie over earlier
    ones. Where it has none, smaller ones lie over larger ones."""

    def objects(self, image: str) -> tuple[tuple[int, int] | None, Iterable[Object]]:
        """(H, W) that the file states, and the objects."""
        raise NotImplementedError

    def mask(self, image: str | Path) -> np.ndarray:
        size, drawn = self._drawn(image)
        mask = np.zeros(size, np.uint8)
        for value, shape in drawn:
            shape.patch().paint(mask, value)
        return mask

    def instances(self, image: str | Path) -> np.ndarray:
        """int32 (H, W): which object, 1, 2, ..., is seen at a pixel; 0 for none, or an ignored
        one. ValueError as :meth:`mask`."""
        size, drawn = self._drawn(image)
        numbers = np.zeros(size, np.int32)
        for number, (value, shape) in enumerate(drawn, start=1):
            shape.patch().paint(numbers, number if value not in (0, IGNORE) else 0)
        return numbers

    def _drawn(self, image: str | Path) -> tuple[tuple[int, int], list[tuple[int, Shape]]]:
        """(H, W), and value and shape of each object, the lowest first."""
        image = self._known(image)
        stated, objects = self.objects(image)
        size = self._size(image, stated)
        drawn, faults = [], []
        for one in objects:
            try:
                value = self.value_of(one.category)
                if value is not None:
                    value = IGNORE if one.crowd else value
                    drawn.append((not one.crowd, one.name, value, one.shape(size)))
            except ValueError as error:
                faults.append(f'{one.name}: {error}')
        if faults:
            more = len(faults) - FAULTS_LISTED
            listed = '; '.join(faults[:FAULTS_LISTED])
            raise ValueError(f'{listed}{f"; and {more} more" if more > 0 else ""}')
        drawn.sort(key=lambda item: (item[0], 0 if self.ordered else -item[3].area))
        for _, name, _, shape in drawn:
            if isinstance(shape, Polygons) and shape.nested():
                self._say_once(
                    'nested',
                    f'{self.place(image)}, {name}: a ring lies inside another one and is filled, '
                    'as rings of an object are joined. If rings are holes, export masks (RLE)',
                )
        return size, [(value, shape) for _, _, value, shape in drawn]


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _listing(names: Iterable[str]) -> str:
    return short(', '.join(names))
