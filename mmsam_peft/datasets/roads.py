from ..registry import DATASETS
from .published import Part, PublishedDataset, converted

COUNTS = dict(train=1108, val=14, test=49)
VALID = dict(train='train', val='{valid,val}', test='test')


@DATASETS.register_module()
class RoadsDataset(PublishedDataset):
    """Massachusetts roads (Mnih, 2013): aerial images of 1500 x 1500, 1108 / 14 / 49."""

    METAINFO = dict(classes=('background', 'road'), palette=[[0, 0, 0], [255, 64, 48]])
    values = 'binary255'
    layouts = (
        {
            split: [Part(f'{VALID[split]}/sat', f'{VALID[split]}/map', count)]
            for split, count in COUNTS.items()
        },
        {
            split: [
                Part(f'{{tiff,png}}/{VALID[split]}', f'{{tiff,png}}/{VALID[split]}_labels', count)
            ]
            for split, count in COUNTS.items()
        },
        converted(),
    )
