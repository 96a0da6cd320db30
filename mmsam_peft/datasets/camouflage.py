from ..registry import DATASETS
from .published import Part, PublishedDataset, converted

IMAGES, MASKS = '{Imgs,Image,images}', '{GT,masks}'
CAMO, COD10K = '{CAMO-V.1.0-CVIU2019,CAMO}', '{COD10K-v3,COD10K}'


def _of_cod10k(name: str) -> bool:
    """Whether there is a camouflaged object; the archive also has images without."""
    return name.startswith('COD10K-CAM')


@DATASETS.register_module()
class CamouflageDataset(PublishedDataset):
    """Camouflaged objects: trained on CAMO (Le et al., CVIU 2019), 1000 images, and COD10K (Fan et
    al., CVPR 2020), 3040, and tested on each, 250 and 2026.

    The test images of COD10K may be absent.
    """

    METAINFO = dict(classes=('background', 'object'), palette=[[0, 0, 0], [255, 64, 48]])
    values = 'binary255'
    layouts = (
        dict(
            train=[Part(f'TrainDataset/{IMAGES}', f'TrainDataset/{MASKS}', 4040)],
            test=[
                Part(f'TestDataset/CAMO/{IMAGES}', f'TestDataset/CAMO/{MASKS}', 250, 'CAMO'),
                Part(
                    f'TestDataset/COD10K/{IMAGES}',
                    f'TestDataset/COD10K/{MASKS}',
                    2026,
                    'COD10K',
                    optional=True,
                ),
            ],
        ),
        dict(
            train=[
                Part(f'{CAMO}/Images/Train', f'{CAMO}/GT', 1000, take=bool),
                Part(f'{COD10K}/Train/Image', f'{COD10K}/Train/GT_Object', 3040, take=_of_cod10k),
            ],
            test=[
                Part(f'{CAMO}/Images/Test', f'{CAMO}/GT', 250, 'CAMO', take=bool),
                Part(
                    f'{COD10K}/Test/Image',
                    f'{COD10K}/Test/GT_Object',
                    2026,
                    'COD10K',
                    take=_of_cod10k,
                    optional=True,
                ),
            ],
        ),
        converted('CAMO'),
    )
