"""Reading configs of every kind that MMEngine knows."""

from pathlib import Path

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from .. import registry


def read_config(path: str | Path) -> Config:
    """Reads a config; it is a Python file and runs.

    In a config of pure Python (``with read_base():``) types are classes. They become names, as in
    any other config: hooks, adapter files and checkpoints all know a type by its name.

    Raises:
        FileNotFoundError: There is no such config.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no config {path}; those of the zoo are configs/METHOD/DATA.py.'
        )
    cfg = Config.fromfile(path)
    _name_types(cfg._cfg_dict)
    return cfg


def type_name(step: dict) -> str | None:
    """The name of what a dict of a config builds, without its module."""
    kind = step.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', kind)


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
