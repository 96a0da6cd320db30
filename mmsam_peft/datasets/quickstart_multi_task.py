from collections.abc import Sequence

from ..registry import DATASETS
from ..tasks.depth import Depth
from ..tasks.normals import SurfaceNormals
from ..tasks.semantic import SemanticSegmentation
from .multi_task import Layout, MultiTaskDataset
from .scenes import SPLITS, generate_scenes
from .scenes.shapes import CLASSES


@DATASETS.register_module()
class MultiTaskQuickstartDataset(MultiTaskDataset):
    """Shapes on a floor, generated, with classes, depth and normals: drawn into ``data_root`` on
    first use.

    Args:
        tasks: of the kinds SemanticSegmentation (5 classes), Depth and SurfaceNormals.
        data_root: an absent or empty folder, or one that holds this data already; shared by all
            splits.
        split: one of 'train', 'val', 'test'.
        num_images: how many images of the split to draw. Default: 400, 50, 50.
        size: pixels of their sides.
        kwargs: as ``MultiTaskDataset``.
    """

    METAINFO = dict(
        classes=CLASSES,
        palette=[[110, 110, 110], [180, 140, 80], [230, 60, 60], [60, 190, 60], [60, 90, 230]],
    )
    layout = Layout(
        'img_dir/{split}',
        {
            SemanticSegmentation: ['seg_dir/{split}'],
            Depth: ['depth_dir/{split}'],
            SurfaceNormals: ['normals_dir/{split}'],
        },
    )

    def __init__(
        self,
        tasks: Sequence[dict],
        data_root: str = 'data/quickstart_multitask',
        split: str = 'train',
        num_images: int | None = None,
        size: int = 128,
        **kwargs,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'got split={split!r}, expected one of {list(SPLITS)}')
        self.num_images, self.size = SPLITS[split] if num_images is None else num_images, size
        super().__init__(tasks, split, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        generate_scenes(self.data_root, 'shapes', {self.split: self.num_images}, size=self.size)
        return super().load_data_list()
