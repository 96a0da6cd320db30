"""Reading configs of every kind that MMEngine knows."""

import copy
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from .. import registry
from .names import check_top
from .settings import SETTINGS, apply_settings, require_agreement, settle

ENDINGS = ('.py', '.json', '.yaml', '.yml')
BASES = re.compile(r"""^\s*["']?_base_["']?\s*[:=]|\bread_base\(""", re.MULTILINE)
NAMED = re.compile(rf"""^\s*["']?({'|'.join(SETTINGS)})["']?\s*[:=]""", re.MULTILINE)
"""What shows in a file that it has bases, and settings."""


def read_config(path: str | Path) -> Config:
    """Reads a config; it is a Python file and runs. Its settings reach their places, see
    ``settings/``.

    In a config of pure Python (``with read_base():``) types are classes. They become names, as in
    any other config: hooks, adapter files and checkpoints all know a type by its name.

    In a config without bases, such as the one that a training writes into its work directory,
    settings change nothing that is written there: places that say something else are an error.

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
    if _inherits(path):
        _check_bases(path)
        apply_settings(cfg)
    else:
        settle(cfg)  # its places were written together with the settings
    return cfg


def own_config(config: str | Path | Config) -> Config:
    """A config that may be changed, with its settings in their places: read, or copied from one
    that a program read and may have changed.

    Raises:
        ValueError: A place was changed and says something else than its setting.
    """
    if not isinstance(config, Config):
        return read_config(config)
    file = Path(config.filename or '')
    known = file.is_file() and file.suffix in ENDINGS and _inherits(file)
    original = Config.fromfile(file) if known else None
    config = copy.deepcopy(config)
    settle(config, original)
    return config


def _inherits(path: str | Path) -> bool:
    """Whether a config has bases, whose places its settings are to change."""
    return bool(BASES.search(Path(path).read_text(encoding='utf-8')))


def _check_bases(path: str | Path) -> None:
    """Raises ValueError where a config that others inherit, but that inherits none, has a setting
    and places that say something else, as old configs of work directories may."""
    if Config._is_lazy_import(str(path)):
        return
    for base in Config._get_base_files(str(path)):
        file, _ = Config._get_cfg_path(base, str(path))
        if _inherits(file):
            _check_bases(file)
        elif NAMED.search(Path(file).read_text(encoding='utf-8')):
            try:
                require_agreement(Config.fromfile(file))
            except ValueError as error:
                raise ValueError(f'{file}: {error}') from None


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
