from ..registry import DATASETS
from .published import Part, PublishedDataset, converted

INSIDE = '{,Trans10K_cls12/,Trans10K/}'
MASK_ENDINGS = ('_mask.png', '.png')
COUNTS = dict(train=5000, val=1000, test=4428)
FOLDERS = dict(train='train', val='validation', test='test')


@DATASETS.register_module()
class Trans10KV2Dataset(PublishedDataset):
    """Trans10K-v2 (Xie et al., IJCAI 2021): transparent objects, 11 classes and background, 5000 /
    1000 / 4428 images.

    Masks of class numbers: ``{train,validation,test}/masks_12/NAME_mask.png``.
    """

    METAINFO = dict(
        classes=(
            'background',
            'shelf',
            'jar',
            'freezer',
            'window',
            'door',
            'eyeglass',
            'cup',
            'wall',
            'bowl',
            'bottle',
            'box',
        ),
        palette=[
            [0, 0, 0],
            [120, 120, 70],
            [235, 235, 7],
            [6, 230, 230],
            [204, 255, 4],
            [120, 120, 120],
            [140, 140, 140],
            [255, 51, 7],
            [224, 5, 255],
            [204, 5, 255],
            [150, 5, 61],
            [4, 250, 7],
        ],
    )
    layouts = (
        {
            split: [
                Part(
                    f'{INSIDE}{FOLDERS[split]}/images',
                    f'{INSIDE}{FOLDERS[split]}/masks_12',
                    count,
                    seg_map_suffix=MASK_ENDINGS,
                )
            ]
            for split, count in COUNTS.items()
        },
        converted(seg_map_suffix=MASK_ENDINGS),
    )


def _by_difficulty(split: str) -> list[Part]:
    return [
        Part(
            f'{INSIDE}{FOLDERS[split]}/{difficulty}/images',
            f'{INSIDE}{FOLDERS[split]}/{difficulty}/masks',
            name=difficulty,
            seg_map_suffix=MASK_ENDINGS,
        )
        for difficulty in ('easy', 'hard')
    ]


@DATASETS.register_module()
class Trans10KV1Dataset(PublishedDataset):
    """Trans10K (Xie et al., ECCV 2020): transparent things and stuff, 5000 / 1000 / 4428 images,
    validated and tested on easy and hard ones.

    Masks are RGB: a mean of the channels of 85 is a thing, of 255 stuff.
    """

    METAINFO = dict(
        classes=('background', 'things', 'stuff'),
        palette=[[0, 0, 0], [255, 64, 48], [255, 255, 255]],
    )
    values = (0, 85, 255)
    totals = COUNTS
    layouts = (
        dict(
            train=[
                Part(f'{INSIDE}train/images', f'{INSIDE}train/masks', seg_map_suffix=MASK_ENDINGS)
            ],
            val=_by_difficulty('val'),
            test=_by_difficulty('test'),
        ),
        converted('easy', 'hard'),
    )
