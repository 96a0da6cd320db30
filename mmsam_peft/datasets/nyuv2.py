from collections.abc import Sequence

import numpy as np

from ..registry import DATASETS
from ..tasks import Task
from ..tasks.base import IGNORE
from ..tasks.depth import Depth
from ..tasks.edges import Edges
from ..tasks.normals import SurfaceNormals
from ..tasks.semantic import SemanticSegmentation
from .multi_task import Layout
from .published_multi_task import PublishedMultiTaskDataset

LAYOUTS = dict(
    mtan=Layout(
        '{split}/image',
        {
            SemanticSegmentation: ['{split}/label'],
            Depth: ['{split}/depth'],
            SurfaceNormals: ['{split}/normal'],
        },
        image_suffixes=['.npy'],
    ),
    nyud_mt=Layout(
        'images',
        {
            SemanticSegmentation: ['segmentation'],
            Depth: ['depth'],
            SurfaceNormals: ['normals'],
            Edges: ['edge'],
        },
        names='gt_sets/{split}.txt',
    ),
    folder=Layout(
        'img_dir/{split}',
        {
            SemanticSegmentation: ['ann_dir/{split}'],
            Depth: ['depth_dir/{split}'],
            SurfaceNormals: ['normals_dir/{split}'],
        },
    ),
)

CLASSES_13 = (
    'bed',
    'books',
    'ceiling',
    'chair',
    'floor',
    'furniture',
    'objects',
    'picture',
    'sofa',
    'table',
    'tv',
    'wall',
    'window',
)
CLASSES_40 = (
    'wall',
    'floor',
    'cabinet',
    'bed',
    'chair',
    'sofa',
    'table',
    'door',
    'window',
    'bookshelf',
    'picture',
    'counter',
    'blinds',
    'desk',
    'shelves',
    'curtain',
    'dresser',
    'pillow',
    'mirror',
    'floor mat',
    'clothes',
    'ceiling',
    'books',
    'refrigerator',
    'television',
    'paper',
    'towel',
    'shower curtain',
    'box',
    'whiteboard',
    'person',
    'night stand',
    'toilet',
    'sink',
    'lamp',
    'bathtub',
    'bag',
    'other structure',
    'other furniture',
    'other prop',
)


@DATASETS.register_module()
class NYUv2Dataset(PublishedMultiTaskDataset):
    """NYU Depth v2 (Silberman et al., ECCV 2012): rooms with classes, depth in metres and surface
    normals.

    * 'mtan', 13 classes, splits train and val: ``<split>/{image,label,depth,normal}/<i>.npy``,
      288 x 384, as published with MTAN.
    * 'nyud_mt', 40 classes, splits train and val: ``images``, ``segmentation``, ``depth``,
      ``normals``, ``edge`` and ``gt_sets/<split>.txt``, as published with ASTMT and its successors.
    * 'folder', 13 classes, splits train and test: ``img_dir/<split>``, ``ann_dir/<split>``,
      ``depth_dir/<split>`` (16-bit PNG, millimetres), ``normals_dir/<split>``; written by
      ``nyuv2_mat.py``.

    In 'nyud_mt' class 0 of the files, unlabelled, is ignored, and class k becomes k - 1. The set
    has no normals of its own: 'mtan' and 'nyud_mt' come with some, others are pseudo-normals
    derived from depth (``pseudo_normals.py``).

    Args:
        layout: as above.
        kwargs: as ``PublishedMultiTaskDataset``.
    """

    def __init__(
        self, tasks: Sequence[dict], layout: str = 'mtan', metainfo: dict | None = None, **kwargs
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f'got layout={layout!r}, expected one of {list(LAYOUTS)}')
        self.layout, self.counts_from_one = LAYOUTS[layout], layout == 'nyud_mt'
        self.second = 'test' if layout == 'folder' else 'val'
        classes = CLASSES_40 if self.counts_from_one else CLASSES_13
        super().__init__(tasks, metainfo=dict(classes=classes) | (metainfo or {}), **kwargs)

    def read_label(self, task: Task, path: str) -> np.ndarray | None:
        label = super().read_label(task, path)
        if self.counts_from_one and isinstance(task, SemanticSegmentation):
            return np.where(label == 0, IGNORE, label - 1)
        return label
