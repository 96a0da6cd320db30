from ..registry import DATASETS
from ..tasks.inverse_depth import InverseDepth
from ..tasks.semantic import SemanticSegmentation
from .multi_task import Layout
from .published_multi_task import PublishedMultiTaskDataset


@DATASETS.register_module()
class CityScapesMTANDataset(PublishedMultiTaskDataset):
    """CityScapes (Cordts et al., CVPR 2016) as published with MTAN: 7 classes and inverse depth,
    128 x 256, 2975 + 500 images.

    Layout: ``{train,val}/{image,label_7,depth}/<i>.npy``; ``label`` is taken where there is no
    ``label_7``. Labels are -1 where ignored, inverse depth, of no stated unit, is 0 where unknown.
    The classes are CityScapes' categories in their order, which the files do not name.
    """

    METAINFO = dict(
        classes=('flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle'),
        palette=[
            [128, 64, 128],
            [70, 70, 70],
            [153, 153, 153],
            [107, 142, 35],
            [70, 130, 180],
            [220, 20, 60],
            [0, 0, 142],
        ],
    )
    layout = Layout(
        '{split}/image',
        {
            SemanticSegmentation: ['{split}/label_7', '{split}/label'],
            InverseDepth: ['{split}/depth'],
        },
        image_suffixes=['.npy'],
    )
