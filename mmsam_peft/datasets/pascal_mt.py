from pathlib import Path

import numpy as np

from ..registry import DATASETS
from ..tasks import Task
from ..tasks.edges import Edges
from ..tasks.normals import SurfaceNormals
from ..tasks.saliency import Saliency
from ..tasks.semantic import HumanParts, SemanticSegmentation
from .labels import channels_last, read_array
from .multi_task import Layout
from .published_multi_task import PublishedMultiTaskDataset

PERSON = 15
PARTS = {
    part: number
    for number, parts in enumerate(
        (
            ('head', 'hair', 'lear', 'rear', 'lebrow', 'rebrow', 'leye', 'reye', 'mouth', 'nose'),
            ('neck', 'torso'),
            ('luarm', 'ruarm'),
            ('llarm', 'rlarm', 'lhand', 'rhand'),
            ('luleg', 'ruleg'),
            ('llleg', 'rlleg', 'lfoot', 'rfoot'),
        ),
        1,
    )
    for part in parts
}
"""Class of each of PASCAL-Part's parts of a person."""

WITH_NORMALS = (
    3,
    4,
    6,
    9,
    10,
    11,
    13,
    15,
    17,
    18,
    22,
    23,
    29,
    30,
    33,
    34,
    36,
    37,
    38,
    39,
    41,
    43,
    46,
    49,
    50,
    51,
    53,
    55,
    56,
    59,
    61,
    62,
    65,
    66,
    68,
    69,
    72,
    73,
    78,
    83,
    84,
    85,
    87,
    88,
    95,
    96,
    101,
    104,
    105,
    107,
    111,
    113,
    115,
    122,
    124,
    135,
    141,
    142,
    143,
    146,
    150,
    154,
    157,
    158,
    159,
    165,
    172,
    174,
    181,
    183,
    184,
    191,
    193,
    195,
    197,
    199,
    202,
    213,
    215,
    216,
    219,
    220,
    223,
    225,
    228,
    230,
    232,
    233,
    238,
    239,
    242,
    243,
    246,
    250,
    251,
    252,
    255,
    260,
    261,
    263,
    269,
    272,
    273,
    275,
    281,
    283,
    284,
    285,
    286,
    287,
    288,
    290,
    291,
    292,
    293,
    295,
    304,
    307,
    309,
    310,
    314,
    315,
    319,
    323,
    329,
    330,
    331,
    336,
    342,
    345,
    349,
    350,
    351,
    352,
    355,
    357,
    368,
    370,
    371,
    374,
    379,
    380,
    383,
    384,
    397,
    401,
    403,
    405,
    407,
    408,
    411,
    412,
    413,
    414,
    417,
    419,
    421,
    423,
    427,
    429,
    430,
    432,
    440,
    441,
    442,
    443,
    444,
    446,
    454,
    457,
)
"""Classes of PASCAL-Context (of 459) that NYUv2 has by the same name, and tvmonitor: the network
whose normals were distilled knew these."""


@DATASETS.register_module()
class PASCALMTDataset(PublishedMultiTaskDataset):
    """PASCAL-Context with five tasks, as put together for ASTMT (Maninis et al., CVPR 2019): 4998 +
    5105 images.

    Layout: ``JPEGImages`` and ``ImageSets/Context/{train,val}.txt``, and of each kind of task

    * semantic segmentation, 21 classes: ``semseg/VOC12/*.png``, else
      ``semseg/pascal-context/*.png``;
    * human parts, 7 classes: ``human_parts/*.mat`` of PASCAL-Part; an image without parts of people
      lacks the task;
    * surface normals, from a network: ``normals_distill/*.png``, at pixels of classes that NYUv2
      shares (``WITH_NORMALS``);
    * saliency, from a network: ``sal_distill/*.png``;
    * edges, borders between the 459 classes: ``pascal-context/trainval/*.mat``. A pixel is one
      where its right or lower neighbour is of another class; the published loaders thin a
      Laplacian, which is as wide but up to a pixel beside.
    """

    METAINFO = dict(
        classes=(
            'background',
            'aeroplane',
            'bicycle',
            'bird',
            'boat',
            'bottle',
            'bus',
            'car',
            'cat',
            'chair',
            'cow',
            'diningtable',
            'dog',
            'horse',
            'motorbike',
            'person',
            'pottedplant',
            'sheep',
            'sofa',
            'train',
            'tvmonitor',
        )
    )
    context = 'pascal-context/trainval'
    layout = Layout(
        'JPEGImages',
        {
            SemanticSegmentation: ['semseg/VOC12', 'semseg/pascal-context'],
            HumanParts: ['human_parts'],
            SurfaceNormals: ['normals_distill'],
            Saliency: ['sal_distill'],
            Edges: [context],
        },
        names='ImageSets/Context/{split}.txt',
    )

    def read_label(self, task: Task, path: str) -> np.ndarray | None:
        if isinstance(task, HumanParts):
            return _human_parts(read_array(path))
        if isinstance(task, Edges):
            return _borders(channels_last(read_array(path), 1)[..., 0])
        label = super().read_label(task, path)
        if isinstance(task, SurfaceNormals):
            classes = read_array(Path(self.data_root, self.context, Path(path).stem + '.mat'))
            label = np.where(np.isin(channels_last(classes, 1), WITH_NORMALS), label, 0)
            return label if label.any() else None
        return label


def _human_parts(annotation: np.ndarray) -> np.ndarray | None:
    """Class numbers (H, W, 1); where parts overlap the later one. None when no person has parts."""
    label = None
    _, objects = annotation[0, 0]
    for _, category, mask, parts in objects.ravel():
        if category.item() == PERSON and parts.size:
            label = np.zeros((*mask.shape, 1), np.int64) if label is None else label
            for name, where in parts.ravel():
                label[where > 0] = PARTS[name.item()]
    return label


def _borders(classes: np.ndarray) -> np.ndarray:
    """1 where the neighbour to the right or below is of another class, (H, W, 1)."""
    edges = np.zeros((*classes.shape, 1), np.float32)
    edges[:, :-1, 0] = classes[:, :-1] != classes[:, 1:]
    edges[:-1, :, 0] += classes[:-1] != classes[1:]
    return np.minimum(edges, 1)
