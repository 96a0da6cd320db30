from ..registry import DATASETS
from .folder import FolderDataset


@DATASETS.register_module()
class Trans10KV2Dataset(FolderDataset):
    """Trans10K-v2 (Xie et al., IJCAI 2021): transparent objects, 11 classes and background.

    Layout: ``{train,validation,test}/images/*.jpg``,
    ``{train,validation,test}/masks_12/*_mask.png`` (class numbers).
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

    def __init__(
        self, seg_map_suffix: str | tuple[str, ...] = ('_mask.png', '.png'), **kwargs
    ) -> None:
        super().__init__(seg_map_suffix=seg_map_suffix, **kwargs)
