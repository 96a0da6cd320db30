import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import mmengine
from mmseg.datasets import BaseSegDataset

from ..registry import DATASETS
from .checks.problems import AMBIGUOUS, NO_IMAGE, ORPHAN_MASK, DatasetError, short
from .files import composed, files_below
from .pixels.foreign import advice
from .transforms.masks import MASK_VALUES, MaskValues

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.npy')
MASK_SUFFIXES = ('.png', '.bmp', '.tif', '.tiff', '.gif', '.jpg', '.jpeg')


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images and masks in two folders (``data_prefix``), paired by name without suffix; sub-folders
    are searched too. Hidden files and folders are no data.

    Args:
        img_suffix: one or several endings of image files, in any case.
        seg_map_suffix: the same for masks; ``'_mask.png'`` pairs ``a.jpg`` with ``a_mask.png``.
        mask_values: what the stored values mean, see :func:`mask_to_classes`.
        metainfo: ``classes``, and a ``palette`` of as many RGB colours.
        ann_file: a list of names without suffix, a line each, of those to use; or of files, an
            image and its mask with a tab between, below their folders of ``data_prefix``.
        kwargs: as ``BaseSegDataset``. ``data_prefix`` without ``seg_map_path`` is a set without
            masks; its ``instance_path`` is a folder of maps of objects, named as the masks are, of
            8 or 16 bits with the number of a pixel's object, 0 for none.

    Attributes:
        problems: what does not pair up, for :func:`check_dataset`.

    Raises:
        DatasetError: for an empty or absent folder, and for classes, palette and mask_values that
            disagree.
    """

    def __init__(
        self,
        img_suffix: str | Sequence[str] = IMAGE_SUFFIXES,
        seg_map_suffix: str | Sequence[str] = MASK_SUFFIXES,
        mask_values: MaskValues = 'index',
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        self.mask_values = mask_values
        self.problems: dict[str, list[str]] = {}
        self._check_settings(metainfo or {})
        super().__init__(
            img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, metainfo=metainfo, **kwargs
        )

    def _check_settings(self, metainfo: dict) -> None:
        classes = metainfo.get('classes', self.METAINFO.get('classes'))
        if not classes or isinstance(classes, str):
            raise DatasetError(
                f'got classes={short(repr(classes))}, expected a list of names: set '
                'metainfo=dict(classes=[...])'
            )
        palette = metainfo.get('palette')
        if palette and len(palette) != len(classes):
            raise DatasetError(
                f'got {len(palette)} palette colours for {len(classes)} classes, expected one '
                'each: correct metainfo'
            )
        values = self.mask_values
        if isinstance(values, Mapping):
            if set(values) != {'colours', 'tolerance'}:
                raise DatasetError(
                    f'got mask_values={short(str(dict(values)))}, expected '
                    'dict(colours=[...], tolerance=40)'
                )
            values = values['colours']
        if isinstance(values, str):
            if values not in MASK_VALUES:
                raise DatasetError(
                    f'got mask_values={short(repr(values))}, expected one of {MASK_VALUES} or a '
                    'list of '
                    'RGB colours'
                )
            if values != 'index' and len(classes) != 2:
                raise DatasetError(
                    f'got {len(classes)} classes with mask_values={values!r}, expected 2, '
                    "background and foreground; use 'index' or a list of colours for more"
                )
        elif len(values) != len(classes) or any(
            not isinstance(colour, int) and len(colour) != 3 for colour in values
        ):
            raise DatasetError(
                f'got mask_values={short(str(values))}, expected one RGB colour for each of the '
                f'{len(classes)} classes'
            )

    def load_data_list(self) -> list[dict]:
        lines = [line for line in self._lines() if line.strip()] if self.ann_file else []
        if any('\t' in line for line in lines):
            return self._with_instances(self._listed_files(lines))
        images = self._find_files('img_path', self.img_suffix)
        masks = (
            self._find_files('seg_map_path', self.seg_map_suffix)
            if 'seg_map_path' in self.data_prefix
            else None
        )
        names = sorted(images)
        if self.ann_file:
            listed = [composed(line.strip()) for line in lines]
            names = [name for name in listed if name in images]
            self._note(
                NO_IMAGE,
                (f'{name} of {self.ann_file}' for name in listed if name not in images),
            )
        elif masks is not None:
            self._note(ORPHAN_MASK, (masks[name] for name in sorted(set(masks) - set(images))))
        return self._with_instances([self._sample(name, images[name], masks) for name in names])

    def _listed_files(self, lines: Sequence[str]) -> list[dict]:
        if wrong := [line for line in lines if line.count('\t') != 1]:
            raise DatasetError(
                f'got the line {short(repr(wrong[0]))} in {self.ann_file}, expected an image and '
                'its mask with one tab between, as in the other lines: correct the list'
            )
        folders = self.data_prefix['img_path'], self.data_prefix.get('seg_map_path')
        samples = []
        for line in lines:
            image, mask = line.split('\t')
            sample = self._sample('', osp.join(folders[0], image), None)
            if folders[1] is not None:
                sample['seg_map_path'] = osp.join(folders[1], mask)
            samples.append(sample)
        return samples

    def _lines(self) -> list[str]:
        try:
            return mmengine.list_from_file(
                self.ann_file, encoding='utf-8-sig', backend_args=self.backend_args
            )
        except UnicodeDecodeError:
            raise DatasetError(
                f'got ann_file={self.ann_file}, which is no text in UTF-8, expected a name a line: '
                'correct '
                'ann_file, or save it as UTF-8'
            ) from None

    def _sample(self, name: str, image: str, masks: dict[str, str] | None) -> dict:
        sample = dict(
            img_path=image,
            mask_values=self.mask_values,
            label_map=self.label_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
        )
        if masks is not None:
            missing = osp.join(
                self.data_prefix['seg_map_path'], name + _as_tuple(self.seg_map_suffix)[0]
            )
            sample['seg_map_path'] = masks.get(name, missing)
        return sample

    def _with_instances(self, samples: list[dict]) -> list[dict]:
        """Samples with the place of their maps of objects, where there is a folder of them."""
        folder = self.data_prefix.get('instance_path')
        for sample in samples:
            if folder and 'seg_map_path' in sample:
                name = osp.relpath(sample['seg_map_path'], self.data_prefix['seg_map_path'])
                sample['instance_map_path'] = osp.join(folder, name)
        return samples

    def _find_files(self, key: str, suffixes: str | Sequence[str]) -> dict[str, str]:
        """Name without suffix -> path. DatasetError when there is none."""
        folder = self.data_prefix[key]
        try:
            files = files_below(folder, self.backend_args)
        except FileNotFoundError:
            raise self._nothing_found(key, 'no such folder', suffixes) from None
        paths = defaultdict(list)
        for name, file in _split(files, _as_tuple(suffixes)):
            paths[composed(name)].append(osp.join(folder, file))
        if not paths:
            others = Counter(osp.splitext(file)[1] or 'no suffix' for file in files)
            listing = ', '.join(f'{count} x {suffix}' for suffix, count in others.most_common(5))
            listing += f'; {said}' if key == 'img_path' and (said := advice(others)) else ''
            raise self._nothing_found(
                key, f'no such file in it ({listing})' if files else 'an empty folder', suffixes
            )
        self._note(AMBIGUOUS, (', '.join(same) for same in paths.values() if len(same) > 1))
        return {name: same[0] for name, same in paths.items()}

    def _nothing_found(self, key: str, got: str, suffixes: str | Sequence[str]) -> DatasetError:
        what = 'images' if key == 'img_path' else 'masks'
        return DatasetError(
            f'the data set has no {what}.\n'
            f'    got       {osp.abspath(self.data_prefix[key])}: {got}\n'
            f'    expected  files ending in {" ".join(_as_tuple(suffixes))}\n'
            f"    do        put the {what} there, or set the data set's data_root and "
            f'data_prefix.{key}'
            f'{"" if key == "img_path" else "; for images without masks: tools/predict.py"}'
        )

    def _note(self, kind: str, lines: Iterator[str]) -> None:
        lines = list(lines)
        if lines:
            self.problems.setdefault(kind, []).extend(lines)


def _as_tuple(suffixes: str | Sequence[str]) -> tuple[str, ...]:
    return (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)


def _split(files: Sequence[str], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(name without the longest suffix that fits, file) of each file that has one."""
    by_length = sorted(suffixes, key=len, reverse=True)
    for file in files:
        suffix = next((s for s in by_length if file.lower().endswith(s.lower())), None)
        if suffix:
            yield file[: -len(suffix)], file
