from ..registry import DATASETS
from .folder import FolderDataset
from .scenes import SPLITS, generate_scenes


@DATASETS.register_module()
class QuickstartDataset(FolderDataset):
    """Roads seen from above, generated: drawn into ``data_root`` on first use, see
    :func:`generate_scenes`.

    Args:
        data_root: an absent or empty folder, or one that holds this data already; shared by all
            splits.
        split: one of 'train', 'val', 'test'.
        num_images: how many images of the split to draw. Default: 400, 50, 50.
        kwargs: as ``FolderDataset``.
    """

    METAINFO = dict(classes=('background', 'road'), palette=[[0, 0, 0], [255, 64, 48]])
    world = 'roads'
    folders = dict(img_path='img_dir', seg_map_path='ann_dir')

    def __init__(
        self,
        data_root: str = 'data/quickstart',
        split: str = 'train',
        num_images: int | None = None,
        **kwargs,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'got split={split!r}, expected one of {list(SPLITS)}')
        self.split = split
        self.num_images = SPLITS[split] if num_images is None else num_images
        super().__init__(
            data_root=data_root,
            img_suffix='.png',
            seg_map_suffix='.png',
            data_prefix={key: f'{folder}/{split}' for key, folder in self.folders.items()},
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        generate_scenes(self.data_root, self.world, {self.split: self.num_images})
        return super().load_data_list()


@DATASETS.register_module()
class ObjectsDataset(QuickstartDataset):
    """Unrelated things in front of patterned backgrounds: what the quickstart's base model was
    trained on."""

    METAINFO = dict(classes=('background', 'object'), palette=[[0, 0, 0], [255, 64, 48]])
    world = 'objects'
    folders = dict(QuickstartDataset.folders, instance_path='instance_dir')
