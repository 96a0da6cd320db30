"""What a suite is asked for, checked as a whole before anything is trained."""

import copy
import json
import platform
import urllib.request
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path

import mmcv
import mmengine
import mmseg
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ...adapters.match import with_defaults
from ...apis.inference import build_to_count, is_adaptable
from ...apis.overrides import apply_overrides
from ...hub import SCHEME, fetch
from ...models.backbones.variants import address_of
from ...peft import count_parameters
from ...peft.notation import label
from ...registry import DATASETS, PEFT, SCOPE
from ...safe_load import is_at_hand
from ...version import __version__
from .cells import Cells, Data
from .run import Run
from .settings import differences, settings_of, test_of

PATIENCE = 10
"""Seconds that an address of weights may take to answer."""


def plan(
    cells: Cells,
    data: Sequence[Data],
    methods: Sequence[str],
    work_dir: Path,
    archs: Sequence[str | None] = (None,),
    lrs: Sequence[float | None] = (None,),
    seeds: Sequence[int] = (0,),
    skip_missing: bool = False,
    check_files: bool = True,
) -> list[Run]:
    """The runs to make, seed by seed. Every model has been built once, without weights; data sets
    and weights are there.

    Args:
        archs: Sizes of the encoder; None: the config's. Networks without one are made once.
        lrs: Learning rates; None: the config's. Several are compared by validation, which then
            must not be on the test set.
        skip_missing: Leave out what cannot be made, with a line for each.
        check_files: Look whether data sets and weights are there.

    Raises:
        ValueError: Something asked cannot be done, or a folder holds a run with other settings;
            with everything that is wrong.
    """
    _require_once('--methods', methods)
    _require_once('--data', [one.name for one in data])
    _require_once('--seeds', seeds)
    _require_once('--lrs', lrs)
    groups, faults, seen = [], [], {}
    for one, method in product(data, methods):
        found = []
        try:
            config = cells.config(method, one)
            found += missing(config, seen) if check_files else ()
            found += _leaks(config, lrs)
            _require_same_test(config, method, one, cells)
            sizes = archs if is_adaptable(config) else (None,)
            runs = [
                of_rate
                for arch in sizes
                for of_rate in _runs_of(method, one, arch, lrs, config, seeds, work_dir)
            ]
        except Exception as error:  # whatever the parts of a model raise
            found.append(str(error) or repr(error))
        if found:
            where = f'{method} on {one.name}' if one.name else method
            faults += [f'  {where}: {fault}' for fault in found]
        else:
            groups += runs
    if faults and not skip_missing:
        raise ValueError('Nothing was trained, because of\n' + '\n'.join(dict.fromkeys(faults)))
    if faults:
        print('Left out:', *dict.fromkeys(faults), sep='\n', flush=True)
    return [run for same_seed in zip(*groups, strict=True) for run in same_seed]


def missing(config: Config, seen: dict[str, str | None]) -> Iterable[str]:
    """What the config needs and is not there: data sets and weights.

    Args:
        seen: What earlier calls found, by what they looked at.
    """
    init_default_scope(config.get('default_scope', SCOPE))
    for split in ('train', 'val', 'test'):
        loader = config.get(f'{split}_dataloader')
        if loader:
            yield from _once(seen, _without_pipeline(loader['dataset']), _absent_data)
    model = config.model
    parts = model.get('backbone') or {}, model.get('decode_head')
    checkpoint = address_of(model.get('checkpoint'), *parts)
    if checkpoint:
        yield from _once(seen, str(checkpoint), _absent_weights)


def _once(seen: dict, thing, look) -> Iterable[str]:
    key = json.dumps(thing, sort_keys=True, default=str)
    if key not in seen:
        seen[key] = look(thing)
    if seen[key]:
        yield seen[key]
        seen[key] = seen[key].splitlines()[0]  # the whole of it is told once


def _absent_data(dataset: dict) -> str | None:
    try:
        DATASETS.build(dataset)
    except Exception as error:  # whatever a data set raises
        return f'data set {dataset.get("data_root", dataset["type"])}: {error}'
    return None


def _absent_weights(checkpoint: str) -> str | None:
    if is_at_hand(checkpoint):
        return None
    if '://' not in checkpoint:
        return f'weights {checkpoint}: no such file; set model.checkpoint.'
    if checkpoint.startswith(SCHEME):
        try:
            fetch(checkpoint)  # once, before many runs ask for it
        except (ImportError, FileNotFoundError, ValueError) as error:
            return f'weights {checkpoint}: {error}'
        return None
    try:
        request = urllib.request.Request(checkpoint, method='HEAD')
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except (OSError, ValueError) as error:
        return f'weights {checkpoint}: they are not here, and cannot be downloaded ({error}).'
    print(f'Weights to be downloaded: {checkpoint}', flush=True)
    return None


def _without_pipeline(node):
    if isinstance(node, dict):
        return {
            key: [] if key == 'pipeline' else _without_pipeline(value)
            for key, value in node.items()
        }
    return [_without_pipeline(one) for one in node] if isinstance(node, list) else node


def _leaks(config: Config, lrs: Sequence[float | None]) -> Iterable[str]:
    """A sweep whose validation set is its test set."""
    val, test = (
        _without_pipeline((config.get(f'{split}_dataloader') or {}).get('dataset'))
        for split in ('val', 'test')
    )
    if len(lrs) > 1 and val == test:
        yield (
            'its validation set is its test set, by which no learning rate may be chosen. Set '
            'val_dataloader.dataset to a part of the training set, or ask for one rate.'
        )


def _require_same_test(config: Config, method: str, data: Data, cells: Cells) -> None:
    """A config file beside methods of one config: ValueError when it is tested otherwise."""
    if method.endswith('.py') and data.config:
        found, expected = (test_of(settings_of(one)) for one in (config, cells.load(data.config)))
        if found != expected:
            raise ValueError(
                f'its scores could not stand beside those of {data.config}: '
                f'{differences(found, expected)}. Expected the same test data set and evaluator.'
            )


def _require_once(name: str, asked: Sequence) -> None:
    if len(set(asked)) < len(asked):
        raise ValueError(f'{name} got {" ".join(map(str, asked))}, expected each one once.')


def main_metric(config: Config) -> dict[str, str | None]:
    """The config's (first) ``save_best`` metric and its rule, 'greater' or 'less'. None: it names
    none."""
    hook = config.get('default_hooks', {}).get('checkpoint', {})
    named = dict(metric=hook.get('save_best'), rule=hook.get('rule'))
    first = {
        key: value[0] if isinstance(value, list | tuple) else value for key, value in named.items()
    }
    return first | ({'metric': None} if first['metric'] == 'auto' else {})


def _runs_of(
    method: str,
    data: Data,
    arch: str | None,
    lrs: Sequence[float | None],
    config: Config,
    seeds: Sequence[int],
    work_dir: Path,
) -> list[list[Run]]:
    """For each rate, the runs of all seeds. The model is built once."""
    config = copy.deepcopy(config)
    if arch:
        config._cfg_dict.pop('encoder', None)  # the setting, which would replace it again
        apply_overrides(config, {'model.backbone.arch': arch})
    model = build_to_count(copy.deepcopy(config))
    peft = config.model.backbone.get('peft')
    if peft and 'tasks' in config.model and 'num_tasks' in with_defaults(PEFT, peft):
        peft.setdefault('num_tasks', len(config.model.tasks))  # as the model has set it
    backbone, total = count_parameters(model.backbone)[0], count_parameters(model)[0]
    facts = dict(
        data=data.name,
        method=method,
        arch=arch,
        trained_parameters=dict(backbone=backbone, head=total - backbone, total=total),
        **main_metric(config),
        versions=_versions(model),
        config=str(Path(config.filename).resolve()),
    )
    parts = data.name and label(data.name), label(method), arch and f'arch={label(arch)}'
    folder = work_dir.joinpath(*filter(None, parts))
    return [
        [_run(config, lr, seed, folder / f'lr={lr:g}' if lr else folder, facts) for seed in seeds]
        for lr in lrs
    ]


def _run(config: Config, lr: float | None, seed: int, folder: Path, facts: dict) -> Run:
    config = copy.deepcopy(config)
    apply_overrides(config, {'lr': lr} if lr else {})
    config.merge_from_dict({'randomness.seed': seed})
    own = dict(lr=config.optim_wrapper.optimizer.lr, seed=seed, settings=settings_of(config))
    run = Run(folder / f'seed{seed}', config, {**facts, **own})
    run.require_same_settings()
    return run


def _versions(model: nn.Module) -> dict[str, str]:
    """Versions of what the model runs on, Hugging Face's ``peft`` where the model has a module of
    it."""
    versions = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmcv=mmcv.__version__,
        mmseg=mmseg.__version__,
        mmsam_peft=__version__,
    )
    if any(type(module).__module__.split('.')[0] == 'peft' for module in model.modules()):
        versions['peft'] = version('peft')
    return versions
