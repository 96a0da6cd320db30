from ..registry import DATASETS
from .published import Part, PublishedDataset

COUNTS = dict(train=367, val=101, test=233)


@DATASETS.register_module()
class CamVidDataset(PublishedDataset):
    """CamVid (Brostow et al., ECCV 2008) in its 11-class form: frames of driving, 367 / 101 / 233.

    Layouts: ``img_dir/{train,val,test}`` and ``ann_dir/{train,val,test}`` with class numbers, 255
    unlabelled, as ``tools/dataset_converters/camvid.py`` makes them of the original archive; or
    SegNet's ``{train,val,test}`` and ``{train,val,test}annot``, where 11 is unlabelled.
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
    layouts = (
        {
            split: [Part(f'img_dir/{split}', f'ann_dir/{split}', count)]
            for split, count in COUNTS.items()
        },
        {
            split: [
                Part(
                    f'{{,CamVid/}}{split}',
                    f'{{,CamVid/}}{split}annot',
                    count,
                    label_map={11: 255},
                )
            ]
            for split, count in COUNTS.items()
        },
    )
