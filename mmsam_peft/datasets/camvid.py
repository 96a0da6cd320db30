from ..registry import DATASETS
from .folder import FolderDataset


@DATASETS.register_module()
class CamVidDataset(FolderDataset):
    """CamVid (Brostow et al., ECCV 2008) in its 11-class form: frames of driving.

    Layout: ``img_dir/{train,val,test}/*`` and ``ann_dir/{train,val,test}/*.png`` (class numbers,
    255 = unlabelled; a copy of the set that numbers unlabelled pixels 11 must be converted).
    """

    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [0, 0, 192],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )
