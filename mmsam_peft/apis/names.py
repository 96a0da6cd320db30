"""Names in config files that nothing reads, because they are mistyped.

A file may have any variable, and what it hands to classes is looked at by them. What is left is
looked at here: names at the top that resemble one that is read, and names in dicts that no class
takes or whose class does not take them.
"""

import difflib
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from .overrides import ALWAYS, READ, TYPES, WORDS, arguments, classes_named, unknown
from .pipelines import VARIABLES
from .settings import SETTINGS

SIMILAR = 0.8
USUAL = {*VARIABLES, 'val_pipeline', 'work_dir', 'launcher'}
"""Variables that configs have beside what is read."""
LEFT_ALONE = ('_cfg', 'paramwise_cfg', 'custom_keys', 'init_cfg', 'norm_cfg', 'act_cfg')
"""Ends of the names of dicts that MMCV reads in ways of its own."""
CHECKED = ('train_cfg', 'val_cfg', 'test_cfg', 'env_cfg', 'mp_cfg', 'dist_cfg')


def check_top(cfg: Config) -> None:
    """Raises ValueError where a variable of a config resembles a setting, or another name that is
    read, and its value is not in effect."""
    known = READ | USUAL
    for name in cfg:
        if name in known or name.startswith('_'):
            continue
        like = difflib.get_close_matches(name, known, 1, SIMILAR)
        if like and like[0] not in USUAL and not _in_effect(cfg, like[0], cfg[name]):
            raise ValueError(
                f'{cfg.filename} has {name}, which nothing reads: did you mean {like[0]}? If it is '
                'a variable of your own, give it a name that is less like one that is read.'
            )


def check_names(cfg: Config) -> None:
    """Raises ValueError, with the nearest name that is known, for names in dicts of a config that
    what is built from them does not take."""
    content = cfg.to_dict()
    faults = [fault for top in content if top in READ for fault in _faults(content[top], top)]
    if faults:
        lines = '\n'.join(f'  {fault}' for fault in faults[:10])
        raise ValueError(f'{cfg.filename} has names that nothing reads:\n{lines}')


def _in_effect(cfg: Config, name: str, value: object) -> bool:
    """Whether what ``name`` stands for has the value already."""
    if name in SETTINGS:
        try:
            read = SETTINGS[name].read(value)
            places = [place for place in SETTINGS[name].places(cfg) if place.bound]
        except (ValueError, TypeError):
            return False
        return bool(places) and all(place.value == read for place in places)
    return cfg.get(name) == value


def _faults(node: object, place: str) -> Iterator[str]:
    if isinstance(node, list | tuple):
        for number, item in enumerate(node):
            yield from _faults(item, f'{place}.{number}')
    if not isinstance(node, Mapping):
        return
    end = place.rpartition('.')[2]
    if end.endswith(LEFT_ALONE) and end not in CHECKED:
        return
    kind = node.get('type', TYPES.get(place))
    if kind:
        taken = [arguments(made) for made in classes_named(kind)]
        if taken and None not in taken:
            names = set(ALWAYS).union(*taken)
            label = f'{place} ({getattr(kind, "__name__", kind)})'
            yield from (unknown(key, label, names - ALWAYS) for key in node if key not in names)
    else:
        words = next(
            (words for end, words in WORDS.items() if f'.{place}'.endswith(f'.{end}')), None
        )
        for key in node:
            if words and key not in words and key not in ALWAYS:
                if difflib.get_close_matches(str(key), sorted(words), 1, SIMILAR):
                    yield unknown(key, place, words)
    for key, item in node.items():
        yield from _faults(item, f'{place}.{key}')
