"""``image_cache``: where resized images are kept, so that they are read and resized once."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from .base import Place, Setting

KIND = 'ImageCacheHook'
USUAL = dict(folder='work_dirs/image_cache', max_gb=50)


class ImageCache(Setting):
    """Images are stored as they are resized, before anything random: a folder, True for
    work_dirs/image_cache, or ``dict(folder=..., max_gb=50)``. See ``ImageCacheHook``."""

    name = 'image_cache'
    example = 'True'
    parts = True

    def read(self, given: Any) -> dict:
        value = dict(folder=given) if isinstance(given, str) else {} if given is True else given
        if not isinstance(value, Mapping) or set(value) - set(USUAL):
            raise ValueError(
                f'image_cache={given!r}: expected True, a folder, or dict(folder=..., max_gb=...); '
                'to read images each time, leave it out.'
            )
        value = {**USUAL, **value}
        number = isinstance(value['max_gb'], int | float) and not isinstance(value['max_gb'], bool)
        if not number or not value['max_gb'] > 0:
            raise ValueError(
                f'image_cache.max_gb={value["max_gb"]!r}: expected how many 10^9 bytes the folder '
                'may hold, above 0.'
            )
        if not isinstance(value['folder'], str) or not value['folder']:
            raise ValueError(f'image_cache.folder={value["folder"]!r}: expected a folder.')
        return value

    def places(self, cfg: Config) -> Iterator[Place]:
        hooks = cfg.get('default_hooks') or {}
        if hook := hooks.get('image_cache'):
            said = {**USUAL, **{key: hook[key] for key in USUAL if key in hook}}
            yield Place(
                'default_hooks.image_cache',
                hooks,
                'image_cache',
                said,
                lambda value: dict(type=KIND, **value),
            )

    def apply(self, cfg: Config, value: dict) -> None:
        hooks = cfg.get('default_hooks') or {}
        cfg.default_hooks = {**hooks, 'image_cache': dict(type=KIND, **value)}

    def disagreements(self, cfg: Config, value: dict) -> list[str]:
        if not (cfg.get('default_hooks') or {}).get('image_cache'):
            return ['default_hooks.image_cache: None']
        return super().disagreements(cfg, value)
