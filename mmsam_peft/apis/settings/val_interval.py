"""``val_interval``: how often training is validated."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class ValInterval(Setting):
    """After how many epochs (iterations, where training counts them) validation and checkpoints
    come. The last epoch is always validated."""

    name = 'val_interval'
    example = '5'
    also = 'train_cfg.val_interval'

    def read(self, given: Any) -> int:
        if type(given) is not int or given < 1:
            raise ValueError(
                f'val_interval={given!r}: expected a whole number of epochs, at least 1.'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        loop, hooks = cfg.get('train_cfg'), cfg.get('default_hooks') or {}
        if loop:
            yield Place('train_cfg.val_interval', loop, 'val_interval', loop.get('val_interval'))
        if checkpoint := hooks.get('checkpoint'):
            interval = checkpoint.get('interval')
            yield Place(
                'default_hooks.checkpoint.interval', checkpoint, 'interval', interval, bound=False
            )

    def apply(self, cfg: Config, value: int) -> None:
        if not cfg.get('train_cfg'):
            raise ValueError(f'val_interval={value}: this config has no training.')
        for place in self.places(cfg):
            place.node[place.key] = value
