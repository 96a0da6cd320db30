"""Data sets of publications, found in the folders that their archives and bundles have."""

import os
import os.path as osp
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import mmengine
from mmengine.logging import print_log

from .checks.problems import ORPHAN_MASK, DatasetError
from .files import composed
from .folder import IMAGE_SUFFIXES, MASK_SUFFIXES, FolderDataset
from .held_out import held_out, require_share
from .transforms.masks import MaskValues

GUIDE = 'docs/prepare_datasets.md'
SPLITS = ('train', 'val', 'test')


class Part(NamedTuple):
    """Where a part of a split lies below ``data_root``. In a path ``{a,b}`` stands for either name,
    and upper and lower case are one.

    Args:
        images: folder of the images.
        masks: folder of the masks.
        count: how many images were published; None: any number.
        name: what a test set is called in results.
        take: which names without suffix belong to the part.
        mask_values: what the masks' values mean, where it is not what the data set says.
        label_map: class numbers by those that the masks hold.
        optional: whether the split is complete without it.
    """

    images: str
    masks: str
    count: int | None = None
    name: str = ''
    img_suffix: Sequence[str] = IMAGE_SUFFIXES
    seg_map_suffix: Sequence[str] = MASK_SUFFIXES
    take: Callable[[str], bool] | None = None
    mask_values: MaskValues | None = None
    label_map: dict[int, int] | None = None
    optional: bool = False


Layout = Mapping[str, Sequence[Part]]
"""The parts of each split."""


def converted(*tests: str, **more) -> Layout:
    """The layout that ``tools/dataset_converters`` write, which ``FolderDataset`` has too; with
    several test sets, ``img_dir/test/NAME``."""
    layout = {split: [Part(f'img_dir/{split}', f'ann_dir/{split}', **more)] for split in SPLITS}
    if tests:
        layout['test'] = [
            Part(f'img_dir/test/{name}', f'ann_dir/test/{name}', name=name, **more)
            for name in tests
        ]
    return layout


class PublishedDataset(FolderDataset):
    """A published set of images and masks: a subclass says which layouts people have of it.

    A layout without a validation split has one held out from its training images: ``val_share`` of
    each part, by name, the same on every machine.

    Args:
        split: 'train', 'val' or 'test'.
        val_share: the share to hold out. 0: training on all images, and validation on the test
            images, as many published programs do.
        allow_partial: accepts fewer images than were published.
        mask_values: as ``FolderDataset``; by default as the layout's masks are published.
        data_prefix: folders of your own, instead of the layouts; ``split`` then says nothing.
        kwargs: as ``FolderDataset``.

    Attributes:
        parts: the parts of the split that were found, each with its folders.

    Raises:
        DatasetError: no layout is there, or images are missing; shows the layouts.
        ValueError: no such split, or ``val_share`` outside [0, 1).
    """

    layouts: Sequence[Layout] = ()
    values: MaskValues = 'index'
    """What the published masks hold."""
    totals: Mapping[str, int] = {}
    """How many images a split has, where its parts have no counts."""

    def __init__(
        self,
        split: str = 'train',
        val_share: float = 0.0,
        allow_partial: bool = False,
        mask_values: MaskValues | None = None,
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'got split={split!r}, expected one of {list(SPLITS)}')
        require_share(val_share)
        self.split, self.val_share, self.allow_partial = split, val_share, allow_partial
        self.own_folders, self.given_values = bool(data_prefix), mask_values
        self.parts: list[Part] = []
        self._part: Part | None = None
        super().__init__(
            mask_values=self.values if mask_values is None else mask_values,
            data_prefix=data_prefix or dict(img_path='', seg_map_path=''),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        if self.own_folders:
            return super().load_data_list()
        layout = self._layout()
        split, holds_out = self._read_from(layout)
        samples, sets = [], {}
        for part in layout[split]:
            images, masks = (find_folder(self.data_root, path) for path in part[:2])
            if not (images and masks):
                if not part.optional:
                    raise self._incomplete(f'no folder {part.masks if images else part.images}')
                print_log(f'{self.data_root} has no {part.images}, which may be.', 'current')
                continue
            self.parts.append(part._replace(images=images, masks=masks))
            found = self._load(self.parts[-1])
            if holds_out:
                named = {_name(sample, images): sample for sample in found}
                kept = held_out(named, self.val_share)
                found = [one for name, one in named.items() if (name in kept) == self.held_out]
            samples += found
            if part.name:
                sets[part.name] = images
        wanted = 0 if holds_out or self.allow_partial else self.totals.get(split, 0)
        if len(samples) < wanted:
            raise self._incomplete(f'{len(samples)} of {wanted} images of the split {split}')
        self.data_prefix = dict(
            img_path=osp.commonpath([part.images for part in self.parts]),
            seg_map_path=osp.commonpath([part.masks for part in self.parts]),
        )
        if sets:
            self._metainfo['sets'] = sets
        return samples

    @property
    def held_out(self) -> bool:
        """Whether it is the part of the training images that is held out."""
        return self.split == 'val'

    def _layout(self) -> Layout:
        """The one of which the fewest folders are missing, whatever the split: all splits must be
        read from the same."""

        def missing(layout: Layout) -> int:
            needed = [part for parts in layout.values() for part in parts if not part.optional]
            return sum(not find_folder(self.data_root, p) for part in needed for p in part[:2])

        return min(self.layouts, key=missing)

    def _read_from(self, layout: Layout) -> tuple[str, bool]:
        """The layout's split to read, and whether some of its images are held out."""
        if 'val' in layout:
            return self.split, False
        split = ('train' if self.val_share else 'test') if self.held_out else self.split
        return split, split == 'train'

    def _load(self, part: Part) -> list[dict]:
        self._part = part
        self.data_prefix = dict(img_path=part.images, seg_map_path=part.masks)
        self.img_suffix, self.seg_map_suffix = part.img_suffix, part.seg_map_suffix
        if self.given_values is None:
            self.mask_values = self.values if part.mask_values is None else part.mask_values
        samples = super().load_data_list()
        if part.take:
            samples = [sample for sample in samples if part.take(_name(sample))]
        if part.count and len(samples) < part.count and not self.allow_partial:
            raise self._incomplete(f'{len(samples)} of {part.count} images in {part.images}')
        if part.count and len(samples) > part.count:
            print_log(
                f'{part.images} has {len(samples)} images, {part.count} were published.',
                'current',
                level=30,
            )
        return [sample | dict(label_map=part.label_map or self.label_map) for sample in samples]

    def _note(self, kind: str, lines: Iterable[str]) -> None:
        """Masks without an image are usual where several parts share a folder of masks."""
        if not (kind == ORPHAN_MASK and self._part and self._part.take):
            super()._note(kind, lines)

    def _incomplete(self, got: str) -> DatasetError:
        trees = '\n      or\n'.join(_tree(layout) for layout in self.layouts)
        return DatasetError(
            f'{type(self).__name__} is not complete.\n'
            f'    got       {osp.abspath(self.data_root or ".")}: {got}\n'
            f'    expected\n{trees}\n'
            f'    do        {GUIDE} says where to get it; set data_root to its place. To use what '
            'is there, set allow_partial=True in the data sets of the config'
        )


def find_folder(root: str | Path, pattern: str) -> str | None:
    """The first folder below ``root`` that the pattern names, see :class:`Part`."""
    for path in expanded(pattern):
        place = str(root or '.')
        for name in path.split('/'):
            if osp.isdir(osp.join(place, name)):
                place = osp.join(place, name)
                continue
            same = [
                entry
                for entry in (sorted(os.listdir(place)) if osp.isdir(place) else ())
                if entry.lower() == name.lower() and osp.isdir(osp.join(place, entry))
            ]
            if not same:
                break
            place = osp.join(place, same[0])
        else:
            return place
    return None


def expanded(pattern: str) -> Iterator[str]:
    """``a/{b,c}`` -> ``a/b``, ``a/c``."""
    pieces = re.split(r'\{(.*?)\}', pattern)
    yield from map(''.join, product(*(piece.split(',') for piece in pieces)))


@cache
def listed(name: str) -> frozenset[str]:
    """The names of a published split, ``splits/NAME.txt``."""
    lines = mmengine.list_from_file(Path(__file__).parent / f'splits/{name}.txt')
    return frozenset(line for line in lines if not line.startswith('#'))


def _name(sample: dict, folder: str | None = None) -> str:
    """The image's name without suffix, or its path below the folder."""
    path = sample['img_path']
    return composed(osp.splitext(osp.relpath(path, folder) if folder else osp.basename(path))[0])


def _tree(layout: Layout) -> str:
    lines = []
    for split, parts in layout.items():
        for part in parts:
            count = f'{part.count} ' if part.count else ''
            what = f'{count}{split}{f" {part.name}" if part.name else ""}'
            images, masks = (next(expanded(path)) for path in part[:2])
            absent = ', may be absent' if part.optional else ''
            lines.append(f'        {images}  with masks in {masks}  ({what}{absent})')
    return '\n'.join(lines)
