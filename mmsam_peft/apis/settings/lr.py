"""``lr``: the learning rate."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class LearningRate(Setting):
    """The optimizer's learning rate, which warm-up ends with and decay begins with."""

    name = 'lr'
    example = '1e-3'
    also = 'optim_wrapper.optimizer.lr'

    def read(self, given: Any) -> float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not 0 < given < float('inf'):
            raise ValueError(f'lr={given!r}: expected a number above 0, such as 1e-3.')
        return float(given)

    def places(self, cfg: Config) -> Iterator[Place]:
        optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
        if optimizer:
            yield Place('optim_wrapper.optimizer.lr', optimizer, 'lr', optimizer.get('lr'))
