from ..registry import DATASETS
from .published import Part, PublishedDataset, converted

TRAIN, TEST = '{,SBU-shadow/,SBU/}SBUTrain4KRecoveredSmall', '{,SBU-shadow/,SBU/}SBU-Test'


@DATASETS.register_module()
class SBUDataset(PublishedDataset):
    """SBU (Vicente et al., ECCV 2016): shadows, 4085 / 638 images."""

    METAINFO = dict(classes=('background', 'shadow'), palette=[[0, 0, 0], [255, 64, 48]])
    values = 'binary255'
    layouts = (
        dict(
            train=[Part(f'{TRAIN}/ShadowImages', f'{TRAIN}/ShadowMasks', 4085)],
            test=[Part(f'{TEST}/ShadowImages', f'{TEST}/ShadowMasks', 638)],
        ),
        converted(),
    )
