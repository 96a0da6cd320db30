"""A data set of images and annotations of any format, read where they lie."""

import os
import os.path as osp
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from ..registry import DATASETS
from .checks.problems import NO_ANNOTATED_IMAGE, DatasetError, short
from .files import composed
from .labels import Annotations, find_annotations
from .labels.annotations import ObjectAnnotations
from .labels.label_files import lines_of


@DATASETS.register_module()
class AnnotatedDataset(BaseSegDataset):
    """Images with COCO, YOLO, LabelMe, VOC, CVAT or Label Studio annotations, or with masks of any
    kind: see :func:`find_annotations`.

    Args:
        annotations: the file or folder, below ``data_root``.
        metainfo: ``classes``, the first of which is where no object is, and a ``palette`` of as
            many RGB colours.
        categories: of a class, the annotations' category or categories it consists of. Default: the
            one of the same name.
        others: what objects of other categories are: an 'error', 'background' or 'ignore'.
        data_prefix: ``img_path``, the folder of the images. Default: beside the annotations, where
            the format has them.
        instances: give maps of objects too, for prompts; of annotations that are masks there are
            none.
        ann_file: a text file that lists the images to use, a name a line, with or without suffix,
            as below the folder of the images. Default: all that are annotated.
        kwargs: as ``BaseSegDataset``.

    Attributes:
        problems: what does not pair up, for :func:`check_dataset`.

    Raises:
        DatasetError: as :func:`find_annotations` and :meth:`Annotations.select`.
    """

    mask_values = 'annotations'
    """For messages: no values are stored."""

    def __init__(
        self,
        annotations: str,
        metainfo: dict | None = None,
        categories: Mapping[str, str | Sequence[str]] | None = None,
        others: str = 'error',
        data_prefix: dict | None = None,
        instances: bool = False,
        **kwargs,
    ) -> None:
        self.give_instances = instances
        self.where, self.categories, self.others = annotations, categories, others
        self.problems: dict[str, list[str]] = {}
        classes = (metainfo or {}).get('classes')
        if not classes or isinstance(classes, str):
            raise DatasetError(
                f'got classes={short(repr(classes))}, expected a list of names, the first of them '
                "for where no object is: set metainfo=dict(classes=['background', ...])"
            )
        palette = (metainfo or {}).get('palette')
        if palette and len(palette) != len(classes):
            raise DatasetError(
                f'got {len(palette)} palette colours for {len(classes)} classes, expected one '
                'each: correct metainfo'
            )
        super().__init__(metainfo=metainfo, data_prefix=data_prefix or {}, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if not osp.isabs(self.where) and self.data_root:
            self.where = osp.join(self.data_root, self.where)

    def load_data_list(self) -> list[dict]:
        found = _found(self.where, self.data_prefix.get('img_path'))
        self.annotations = found.select(self.metainfo['classes'], self.categories, self.others)
        self.data_prefix['img_path'] = str(found.image_list.folder)
        images = found.images
        self.problems = {kind: list(lines) for kind, lines in found.problems.items()}
        if self.ann_file:
            images = self._listed(images)
        else:
            for note in found.notes:
                print_log(note, 'current', 30)
        return [
            dict(
                img_path=image,
                seg_map_path=found.place(image),
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
            for image in images
        ]

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        depends_on = dict(self.annotations.values(), files=self.annotations.files(info['img_path']))
        info |= dict(read_mask=self.annotations.mask, annotations=depends_on)
        if self.give_instances and isinstance(self.annotations, ObjectAnnotations):
            info['read_instances'] = self.annotations.instances
        return info

    def _listed(self, images: list[str]) -> list[str]:
        """The images that ``ann_file`` names; what is wrong with others does not matter."""
        folder, known = self.data_prefix['img_path'], {}
        for image in images:
            name = composed(Path(os.path.relpath(image, folder)).as_posix())
            known[name] = known[osp.splitext(name)[0]] = image
        names = [composed(name.replace('\\', '/')) for name in lines_of(Path(self.ann_file))]
        missing = [f'{name} of {self.ann_file}' for name in names if name not in known]
        self.problems = {NO_ANNOTATED_IMAGE: missing} if missing else {}
        return list(dict.fromkeys(known[name] for name in names if name in known))


def _found(path: str, images: str | None) -> Annotations:
    """The annotations; of a file that several splits name, read once."""
    if not osp.isfile(path):
        return find_annotations(path, images)
    status = os.stat(path)
    return _in_file(path, images, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=2)
def _in_file(path: str, images: str | None, state: tuple[int, int]) -> Annotations:
    return find_annotations(path, images)
