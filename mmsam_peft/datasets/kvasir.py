from ..registry import DATASETS
from .published import Part, PublishedDataset, converted, listed

RAW = '{Kvasir-SEG/,}images', '{Kvasir-SEG/,}masks'


@DATASETS.register_module()
class KvasirDataset(PublishedDataset):
    """Kvasir-SEG (Jha et al., MMM 2020): 1000 polyps in colonoscopy images.

    Layouts: the archive, whose masks are grey JPEG, tested on the 100 images that PraNet tests on;
    or ``img_dir/{train,val,test}`` and ``ann_dir/{train,val,test}`` with class numbers, or, with
    ``mask_values='binary255'``, masks of 0 and 255.
    """

    METAINFO = dict(classes=('background', 'polyp'), palette=[[0, 0, 0], [255, 255, 255]])
    values = 'binary255'
    layouts = (
        converted(mask_values='index'),
        dict(
            train=[Part(*RAW, 900, take=lambda name: name not in listed('pranet_kvasir_test'))],
            test=[Part(*RAW, 100, take=lambda name: name in listed('pranet_kvasir_test'))],
        ),
    )
