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
    if values is None:
        values = {name: cfg[name] for name in SETTINGS if cfg.get(name) is not None}
    # always in the same order: a shorter max_epochs shortens val_interval, unless that is given too
    for name in SETTINGS:
        if name in values:
            read = SETTINGS[name].read(values[name])
            SETTINGS[name].apply(cfg, read)
            cfg[name] = read


def settle(cfg: Config, original: Config | None = None) -> None:
    """Like ``apply_settings``, for a config that may have its settings in their places already,
    and whose places may have been changed since: they keep what they say.

    Args:
        original: The config before any change. Places that are as they were there are still to
            get the setting; without it, none is.

    Raises:
        ValueError: Names the places that say something else than their setting.
    """
    for name, setting in SETTINGS.items():
        if cfg.get(name) is None:
            continue
        value = setting.read(cfg[name])
        if not setting.holds(cfg, value):
            if original is None or _said(setting, cfg) != _said(setting, original):
                require_agreement(cfg, name)
            setting.apply(cfg, value)
        cfg[name] = value


def _said(setting: Setting, cfg: Config) -> list[tuple]:
    return [(place.name, place.value) for place in setting.places(cfg)]


def check_settings(cfg: Config) -> None:
    """Whether all places of a config say what its settings say, and do not contradict each other.

    Raises:
        ValueError: Names the places.
    """
    require_agreement(cfg)
    for name, setting in SETTINGS.items():
        if cfg.get(name) is None:
            setting.check(cfg)


def require_agreement(cfg: Config, only: str | None = None) -> None:
    """Raises ValueError where places say something else than the setting that a config names."""
    for name, setting in SETTINGS.items():
        if cfg.get(name) is None or only not in (None, name):
            continue
        value = setting.read(cfg[name])
        if faults := setting.disagreements(cfg, value):
            raise ValueError(
                f'{name}={value}, but other places of the config say something else:\n'
                + '\n'.join(f'  {line}' for line in faults)
                + f'\nLeave them out and set {name} alone; it reaches all of them when a tool of '
                'mmsam_peft reads the config (tools/train.py, tools/test.py, ...). Other programs '
                'do not know it: give them the config that a training writes into its work '
                'directory. If nothing is to set all of them, remove the variable '
                f'{name} from the config.'
            )


__all__ = [
    'SETTINGS',
    'Place',
    'Setting',
    'apply_settings',
    'check_settings',
    'require_agreement',
    'settle',
]
