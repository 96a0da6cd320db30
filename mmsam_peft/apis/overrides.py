"""Settings from the command line: each changes something that is read, or is refused.

MMEngine merges any key into a config. A misspelt one, or a variable of the config file whose value
has been put into its places already, would change nothing, and train on the wrong data.
"""

import copy
import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .. import registry
from .settings import SETTINGS, apply_settings, require_agreement


def arguments(made: Callable) -> set[str] | None:
    """The names that a class or function takes, those of base classes where it passes ``**kwargs``
    on; None for any name."""
    names = set()
    kinds = made.__mro__ if inspect.isclass(made) else [made]
    for one in kinds:
        function = vars(one).get('__init__') if inspect.isclass(one) else one
        if function is None or one is object:
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {
            one.name
            for one in parameters
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        }
        if all(one.kind != one.VAR_KEYWORD for one in parameters):
            return names - {'self'}
    return None


READ = arguments(Runner.__init__) - {'cfg'} | {
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    *SETTINGS,
}
"""Keys of a config that the runner or the tools read."""
ELSEWHERE = {
    'launcher': 'give --launcher',
    'custom_imports': 'it is read with the file: write it into the config',
}
ALWAYS = {
    'type',
    '_scope_',
    '_delete_',
    'priority',
    'constructor',
    'paramwise_cfg',
    'convert_to_iter_based',
}
"""What MMEngine takes out of a dict before it calls the class."""
LOADER = arguments(DataLoader) | {'batch_sampler', 'num_batch_per_epoch'}
WORDS = {  # of dicts without a type, by the end of their place
    'randomness': arguments(Runner.set_randomness),
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'train_dataloader': LOADER,
    'val_dataloader': LOADER,
    'test_dataloader': LOADER,
    'data_prefix': {'img_path', 'seg_map_path', 'depth_map_path', 'instance_path'},
    'metainfo': {'classes', 'palette'},
    'model.test_cfg': {'mode', 'crop_size', 'stride'},
    'data_preprocessor.test_cfg': {'size', 'size_divisor'},
}
TYPES = {'log_processor': 'LogProcessor', 'val_cfg': 'ValLoop', 'test_cfg': 'TestLoop'}
"""Where a config may leave the type out."""


def apply_overrides(cfg: Config, options: Mapping | None, also_read: Sequence[str] = ()) -> None:
    """Merges options, ``{'model.backbone.arch': 'huge'}``, into a config.

    Args:
        also_read: Keys beside ``READ`` that the caller reads, such as ``test_pipeline``.

    Settings (``settings/``) come first: the other options hold in what they have changed. One that
    sets the place of a setting of the config, ``train_cfg.max_epochs`` where the file has
    ``max_epochs``, sets the setting.

    Raises:
        ValueError: Options that would change nothing, each with the setting that it may mean; a
            setting with a value that is none, or that other options contradict.
    """
    options = dict(options or {})
    settings = {key: options.pop(key) for key in list(options) if key in SETTINGS}
    for name, setting in SETTINGS.items():
        if setting.also in options and name not in settings and cfg.get(name) is not None:
            settings[name] = options.pop(setting.also)
        if setting.parts:
            starts = f'{name}.'
            parts = {
                key.removeprefix(starts): options.pop(key)
                for key in list(options)
                if key.startswith(starts)
            }
            if parts:
                whole = settings.get(name, cfg.get(name)) or {}
                whole = whole if isinstance(whole, Mapping) else setting.read(whole)
                settings[name] = {**whole, **parts}
    trial = copy.deepcopy(cfg)
    apply_settings(trial, settings)
    before = trial.to_dict()
    read = READ | set(also_read)
    if 'data_preprocessor' in (before.get('model') or {}):
        read.discard('data_preprocessor')
    if faults := [
        f'  {key}: {found}' for key in options if (found := fault(key, before, options, read))
    ]:
        raise ValueError(
            '\n'.join(['settings that would change nothing (--cfg-options):', *faults])
        )
    apply_settings(cfg, settings)
    cfg.merge_from_dict(options)
    require_agreement(cfg)


def fault(key: str, cfg: dict, options: Mapping, read: set[str]) -> str | None:
    """What is wrong with one option; None if nothing is."""
    top, *others = key.split('.')
    if top in ELSEWHERE:
        return ELSEWHERE[top]
    if top in SETTINGS:
        return f'{top} is one value: set it as a whole, {top}={SETTINGS[top].example}'
    if top not in read:
        return variable(key, cfg, read) if top in cfg else unknown_key(key, cfg, read)
    node, place = cfg.get(top) or {}, top
    for name in others:
        if isinstance(node, list | tuple):
            if not name.isdigit() or int(name) >= len(node):
                return f'{place} is a list: name an entry, {place}.0 to {place}.{len(node) - 1}'
            node = node[int(name)]
        elif not isinstance(node, dict):
            return None  # MMEngine's merge says that it is no dict
        elif name in node:
            node = node[name] if node[name] is not None else {}
        else:
            return new_name(name, node, place, options)
        place = f'{place}.{name}'
    return None


def new_name(name: str, node: dict, place: str, options: Mapping) -> str | None:
    """What is wrong with a name that the config does not have at a place."""
    if name in ALWAYS:
        return None
    if place == 'default_hooks':
        whole = options.get(f'{place}.{name}')
        typed = f'{place}.{name}.type' in options or isinstance(whole, Mapping) and 'type' in whole
        return (
            None if typed else f'{unknown(name, place, node)}; a new hook needs {place}.{name}.type'
        )
    kind = options.get(f'{place}.type', node.get('type', TYPES.get(place)))
    if kind:
        taken = [arguments(made) for made in classes_named(kind)]
        if not taken or None in taken or any(name in names for names in taken):
            return None
        return unknown(
            name, f'{place} ({getattr(kind, "__name__", kind)})', set(node).union(*taken)
        )
    words = next((words for end, words in WORDS.items() if f'.{place}'.endswith(f'.{end}')), None)
    if words is not None:
        return None if name in words else unknown(name, place, set(node) | words)
    like = difflib.get_close_matches(name, list(node), 1, 0.8)
    numbered = like and name.rstrip('0123456789') == like[0].rstrip('0123456789')
    return unknown(name, place, node) if like and not numbered else None


def classes_named(kind: str | Callable) -> list[Callable]:
    """Whatever our registries, and those of MMSegmentation and MMEngine, have under a name."""
    if not isinstance(kind, str):
        return [kind]
    ours = [one for one in vars(registry).values() if isinstance(one, Registry)]
    return [found for one in ours if (found := one.get(kind))]


def unknown(name: str, place: str, names: set[str] | Mapping) -> str:
    like = difflib.get_close_matches(name, sorted(names), 1, 0.6)
    what = f'did you mean {like[0]}?' if like else f'it has {", ".join(sorted(names))}'
    return f'{place} has no {name}: {what}'


def unknown_key(key: str, cfg: dict, read: set[str]) -> str:
    """What is wrong with a key whose first name the config does not have: perhaps only its
    beginning is missing."""
    found = [
        place
        for top in cfg
        if top in read
        for place in _all_places(cfg[top], top)
        if place.endswith(f'.{key}')
    ]
    return (
        f'the config has no {key}: set {_listed(found)}'
        if found
        else unknown(key.partition('.')[0], 'the config', read)
    )


def variable(key: str, cfg: dict, read: set[str]) -> str:
    """Where the value of a variable of the config file is."""
    parts, node = key.split('.'), cfg
    for number, name in enumerate(parts, start=1):
        if not isinstance(node, Mapping) or name not in node:
            break
        node = node[name]
        found = [place for top in cfg if top in read for place in places(cfg[top], node, top, name)]
        if found:
            shown = _listed(['.'.join([place, *parts[number:]]) for place in found])
            return (
                'a variable of the config file, whose value has been put into its places already: '
                'set '
                f'{shown}, or change the file'
            )
    return 'a variable of the config file, which nothing reads any more: change the file'


def places(node: object, value: object, place: str, name: str) -> Iterator[str]:
    """Where a value is; numbers, None and empty things only under the same name."""
    telling = isinstance(value, str | list | tuple | dict) and len(value) > 0
    if node == value and type(node) is type(value) and (telling or place.endswith(f'.{name}')):
        yield place
        return
    for inner, item in _items(node):
        yield from places(item, value, f'{place}.{inner}', name)


def _all_places(node: object, place: str) -> Iterator[str]:
    yield place
    for inner, item in _items(node):
        yield from _all_places(item, f'{place}.{inner}')


def _items(node: object) -> Iterable[tuple]:
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list | tuple) else ()


def _listed(found: Sequence[str]) -> str:
    return ', '.join(found[:8]) + (f' and {len(found) - 8} more' if len(found) > 8 else '')
