"""Large images are read and resized once, not in every epoch."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...datasets.checks.dataset import inner_datasets
from ...datasets.image_cache import ImageStore, StoredImages, suits
from ...datasets.item_store import bytes_in
from ...registry import HOOKS


@HOOKS.register_module()
class ImageCacheHook(Hook):
    """Stores each image as the pipeline has resized it, without loss, and reads that from then on,
    in training, validation and test. The setting ``image_cache`` switches it on.

    Whatever happens by chance comes after, and masks are read each time, so that nothing differs
    from a run without. An item is known by its file's path, size and time of change, and by the
    steps that made it; whatever changes of them leads to another item. A damaged one is made again.
    Old items are never removed. The folder is trusted as any local cache is.

    A pipeline that does not begin with reading an image, perhaps its mask, and ``Resize`` stays as
    it is, which is logged.

    Args:
        folder: Several runs, also at the same time, may share it.
        max_gb: How much it may hold, in 10^9 bytes. What does not fit is read each time.
    """

    def __init__(self, folder: str = 'work_dirs/image_cache', max_gb: float = 50) -> None:
        self.folder, self.max_bytes = Path(folder), max_gb * 1e9

    def before_run(self, runner: Runner) -> None:
        room = max(0, self.max_bytes - bytes_in(self.folder))
        if not room:
            runner.logger.warning(
                f'Image cache {self.folder}: it holds {self.max_bytes / 1e9:g} GB, all that max_gb '
                'allows; images that are not in it are read each time. Raise image_cache.max_gb, '
                'or remove the folder.'
            )
        store = ImageStore(self.folder, room / get_world_size())
        for name, dataset in _datasets(runner):
            if suits(dataset.pipeline):
                dataset.pipeline = StoredImages(dataset.pipeline, store)
            else:
                runner.logger.warning(
                    f'Image cache: the pipeline of {name}_dataloader stays as it is. It would have '
                    'to begin with LoadImageFromFile, then perhaps LoadMask, then Resize.'
                )


def _datasets(runner: Runner) -> Iterator[tuple[str, BaseDataset]]:
    """Those of the loaders that are built, without those that store their images already."""
    for name in ('train', 'val', 'test'):
        loader = getattr(getattr(runner, f'_{name}_loop'), 'dataloader', None)
        for dataset in inner_datasets(loader.dataset) if loader else ():
            if not isinstance(dataset.pipeline, StoredImages):
                yield name, dataset
