"""Reading configs of every kind that MMEngine knows."""

from pathlib import Path

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from .. import registry
from .names import check_top
from .settings import apply_settings


def read_config(path: str | Path) -> Config:
    """Reads a config; it is a Python file and runs. Its settings reach their places, see
    ``settings/``.

    In a config of pure Python (``with read_base():``) types are classes. They become names, as in
    any other config: hooks, adapter files and checkpoints all know a type by its name.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: A setting whose places disagree; a mistyped one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no config {path}; those of the zoo are configs/METHOD/DATA.py.'
        )
    cfg = Config.fromfile(path)
    _name_types(cfg._cfg_dict)
    check_top(cfg)
    apply_settings(cfg)
    return cfg


def _name_types(node: object) -> None:
    if isinstance(node, dict):
        if isinstance(kind := dict.get(node, 'type'), LazyObject | LazyAttr | type):
            node['type'] = _name(kind if isinstance(kind, type) else kind.build())
        for value in dict.values(node):
            _name_types(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _name_types(value)


def _name(kind: type) -> str:
    """The bare name under which our registries find it, or where to import it from."""
    ours = [one for one in vars(registry).values() if isinstance(one, Registry)]
    registered = any(one.get(kind.__name__) is kind for one in ours)
    return kind.__name__ if registered else f'{kind.__module__}.{kind.__qualname__}'
