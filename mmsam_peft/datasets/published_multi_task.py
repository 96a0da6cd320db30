from collections.abc import Sequence

from .checks.problems import DatasetError
from .held_out import held_out, require_share
from .multi_task import MultiTaskDataset
from .published import GUIDE, SPLITS


class PublishedMultiTaskDataset(MultiTaskDataset):
    """A published set of several tasks that has two splits: one to train on, one to test on.

    Args:
        tasks: as ``MultiTaskDataset``.
        split: 'train', 'val' or 'test'.
        val_share: the share of the training images to hold out to validate on, by name, the same on
            every machine. 0: validation on the test images, as the published programs do.
        kwargs: as ``MultiTaskDataset``.

    Raises:
        DatasetError: as ``MultiTaskDataset``; says where the set comes from.
        ValueError: no such split, or ``val_share`` outside [0, 1).
    """

    second = 'val'
    """What the layout calls the split to test on."""

    def __init__(
        self, tasks: Sequence[dict], split: str = 'train', val_share: float = 0.0, **kwargs
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'got split={split!r}, expected one of {list(SPLITS)}')
        require_share(val_share)
        self.part, self.val_share = split, val_share
        trained = split == 'train' or split == 'val' and val_share > 0
        super().__init__(tasks, 'train' if trained else self.second, **kwargs)

    def load_data_list(self) -> list[dict]:
        try:
            samples = super().load_data_list()
        except DatasetError as error:
            raise DatasetError(f'{error}\n    see       {GUIDE}') from None
        except FileNotFoundError as error:
            raise DatasetError(
                f'{type(self).__name__} is not complete.\n'
                f'    got       no file {error.filename}\n'
                f'    expected  {", ".join([self.layout.images, self.layout.names])}\n'
                f'    do        {GUIDE} says where to get it; set data_root to its place'
            ) from None
        if self.split != 'train':
            return samples
        named = {sample['img_path'].removeprefix(str(self.data_root)): sample for sample in samples}
        kept = held_out(named, self.val_share)
        return [one for name, one in named.items() if (name in kept) == (self.part == 'val')]
