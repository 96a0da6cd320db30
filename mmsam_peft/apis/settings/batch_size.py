"""``batch_size``: how many images make a step of training."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class BatchSize(Setting):
    """Images in a step of training, in each process."""

    name = 'batch_size'
    example = '8'
    also = 'train_dataloader.batch_size'

    def read(self, given: Any) -> int:
        if type(given) is not int or given < 1:
            raise ValueError(
                f'batch_size={given!r}: expected a whole number of images, at least 1.'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        loader = cfg.get('train_dataloader')
        if loader:
            yield Place(
                'train_dataloader.batch_size', loader, 'batch_size', loader.get('batch_size')
            )
