"""Settings: each is one variable at the top of a config, in a file of its own here; ``base.py``
holds their contract."""

from importlib import import_module
from pkgutil import iter_modules

from mmengine.config import Config

from .base import Place, Setting

SETTINGS: dict[str, Setting] = {}
"""The settings by the name of their variable."""

for module in iter_modules(__path__):  # a setting is known by being here
    for found in vars(import_module(f'{__name__}.{module.name}')).values():
        if isinstance(found, type) and issubclass(found, Setting) and found is not Setting:
            SETTINGS.setdefault(found.name, found())


def apply_settings(cfg: Config, values: dict | None = None) -> None:
    """Writes the settings that a config names at its top, or ``values`` by name, into the places
    they stand for.

    Raises:
        ValueError: A value that is none; places that cannot all be meant.
    """
    given = {name: cfg[name] for name in SETTINGS if cfg.get(name) is not None}
    for name, value in (given if values is None else values).items():
        read = SETTINGS[name].read(value)
        SETTINGS[name].apply(cfg, read)
        cfg[name] = read


def check_settings(cfg: Config) -> None:
    """Whether all places of a config say what its settings say, and do not contradict each other.

    Raises:
        ValueError: Names the places.
    """
    for name, setting in SETTINGS.items():
        if cfg.get(name) is None:
            setting.check(cfg)
            continue
        value = setting.read(cfg[name])
        if faults := setting.disagreements(cfg, value):
            raise ValueError(
                f'{name}={value}, but other places of the config say something else:\n'
                + '\n'.join(f'  {line}' for line in faults)
                + f'\nLeave them out and set {name} alone; it reaches all of them when a tool of '
                'mmsam_peft reads the config (tools/train.py, tools/test.py, ...). Other programs '
                'do not know it: give them the config that a training writes into its work '
                'directory.'
            )


__all__ = ['SETTINGS', 'Place', 'Setting', 'apply_settings', 'check_settings']
