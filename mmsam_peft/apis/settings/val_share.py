"""``val_share``: how many of the training images are held out to validate on."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class ValShare(Setting):
    """The share of the training images that published sets without a validation split hold out to
    choose a checkpoint by. With 0, as many published programs have it, training takes all images
    and the test images are validated on, of which no checkpoint is chosen: ``save_best`` is off.
    """

    name = 'val_share'
    example = '0'

    def read(self, given: Any) -> float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not 0 <= given < 1:
            raise ValueError(
                f'val_share={given!r}: expected a share of the training images from 0, none, to '
                'below 1.'
            )
        return float(given)

    def places(self, cfg: Config) -> Iterator[Place]:
        for split in ('train', 'val', 'test'):
            dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
            if 'val_share' in dataset:
                name = f'{split}_dataloader.dataset.val_share'
                yield Place(name, dataset, 'val_share', dataset['val_share'])

    def apply(self, cfg: Config, value: float) -> None:
        super().apply(cfg, value)
        if value == 0:
            cfg.default_hooks.checkpoint.save_best = None

    def check(self, cfg: Config) -> None:
        """Training and validation would share images, or leave some out."""
        found = list(self.places(cfg))
        if len({place.value for place in found}) > 1:
            raise ValueError(
                'the data sets hold out different shares of the training images: '
                + '; '.join(f'{place.name}: {place.value}' for place in found)
                + '. Set val_share once, at the top of the config or with --cfg-options.'
            )
