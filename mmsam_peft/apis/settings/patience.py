"""``patience``: when training ends early."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class Patience(Setting):
    """Training ends after so many validations in a row without a better score. None: never."""

    name = 'patience'
    example = '10'
    also = 'default_hooks.early_stopping.patience'

    def read(self, given: Any) -> int | None:
        if given is not None and (type(given) is not int or given < 1):
            raise ValueError(
                f'patience={given!r}: expected a whole number of validations, at least 1. To '
                'train to the end, leave it out or set it to None.'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        if hook := (cfg.get('default_hooks') or {}).get('early_stopping'):
            yield Place(
                'default_hooks.early_stopping.patience', hook, 'patience', hook.get('patience')
            )

    def apply(self, cfg: Config, value: int | None) -> None:
        hooks = cfg.get('default_hooks') or {}
        if value is None:
            cfg.default_hooks = {**hooks, 'early_stopping': None}
            return
        hook = hooks.get('early_stopping') or dict(type='EarlyStoppingHook')
        cfg.default_hooks = {**hooks, 'early_stopping': {**hook, 'patience': value}}

    def disagreements(self, cfg: Config, value: int) -> list[str]:
        hooks = cfg.get('default_hooks') or {}
        if not hooks.get('early_stopping'):
            return ['default_hooks.early_stopping: None']
        return super().disagreements(cfg, value)
