"""Fine-tuning methods side by side on one data set: what is asked, checked as a whole before anything is trained."""
import ast
import copy
import hashlib
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mmcv
import mmengine
import mmseg
import torch
from mmengine.config import Config
from torch import nn

from ..peft import count_parameters
from ..registry import PEFT
from ..version import __version__
from .adapters import _complete, is_adaptable
from .inference import build_to_count
from .runs import load_config


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        method: As asked: a method, a call of one, or a config file.
        folder: Where everything of this run goes: DIR/LABEL/seedK.
        config: What is trained, with method, options and seed.
        facts: What result.json says of the run before it is made; ``settings`` is the config as JSON.
    """
    method: str
    seed: int
    folder: Path
    config: Config
    facts: dict

    @property
    def result(self) -> Path:
        return self.folder / 'result.json'

    @property
    def journal(self) -> Path:
        """The settings and what became of each attempt at the training."""
        return self.folder / 'attempts.json'

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.folder / 'last_checkpoint').exists()


def is_config(method: str) -> bool:
    return method.endswith('.py')


def parse_method(text: str) -> dict:
    """``LoRA(rank=8, blocks="last:4")`` as ``dict(type='LoRA', rank=8, blocks='last:4')``; nothing is evaluated.

    Raises:
        ValueError: Neither a name nor a call of one with keyword arguments that are literals.
    """
    try:
        node = ast.parse(text.strip(), mode='eval').body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        names = [keyword.arg for keyword in call.keywords]
        if not isinstance(call.func, ast.Name) or call.args or len(set(names)) < len(names):
            raise ValueError
        peft = dict(type=call.func.id, **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
        json.dumps(peft)  # it goes into JSON files: no sets, no bytes
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(f'--methods got {text!r}, expected a method (LoRA), a call of one with literal keyword arguments '
                         '(\'LoRA(rank=8, blocks="last:4")\'), or a config file (configs/full/kvasir.py).') from None
    return peft


def label(method: str) -> str:
    """A name for files; different methods have different names. ``LoRA(rank=8)``: ``LoRA_rank=8-`` and six hex digits."""
    readable = re.sub(r'[^\w.=-]+', '_', method.removesuffix('.py'), flags=re.ASCII).strip('_.')[-60:]
    return method if readable == method else f'{readable}-{hashlib.sha256(method.encode()).hexdigest()[:6]}'


def plan(config: str, methods: Sequence[str], seeds: Sequence[int], work_dir: Path, options: dict | None = None) -> list[Run]:
    """The runs to make, seed by seed. Every model has been built once, without weights.

    Args:
        config: A config of a ``PEFTSegmentor``; each method takes the place of its ``model.backbone.peft``.
        methods: Methods, calls of methods, config files (trained as they are). None: every registered method.
        options: Overrides of every config; those of the model only reach configs of a ``PEFTSegmentor``.

    Raises:
        ValueError: Something asked cannot be done, or a folder holds a run with other settings.
    """
    base = _load(config, options)
    if not is_adaptable(base):
        raise ValueError(f'{config} has a {base.model.type}, expected a config of a PEFTSegmentor; others go into --methods.')
    methods = methods or sorted(PEFT.module_dict)
    for name, asked in (('--methods', methods), ('--seeds', seeds)):
        if len(set(asked)) < len(asked):
            raise ValueError(f'{name} got {" ".join(map(str, asked))}, expected each one once.')
    runs, faults = [], []
    for method in methods:
        try:
            runs.append(_runs_of(method, config, seeds, work_dir, options))
        except Exception as error:  # whatever the parts of a model raise
            faults.append(f'  {method}: {error}')
    if faults:
        raise ValueError('Nothing was trained, because of\n' + '\n'.join(faults))
    return [run for same_seed in zip(*runs, strict=True) for run in same_seed]


def main_metric(config: Config) -> str | None:
    """The config's (first) ``save_best`` metric. None: it names none."""
    best = config.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    best = best[0] if isinstance(best, list | tuple) else best
    return None if best == 'auto' else best


def main_score(row: dict) -> str:
    """The score that the config chooses the best checkpoint by, else the first."""
    return row['metric'] if row['metric'] in row['scores'] else next(iter(row['scores']))


def _load(path: str, options: dict | None) -> Config:
    config = load_config(path)
    ours = is_adaptable(config)
    config.merge_from_dict({key: value for key, value in (options or {}).items() if ours or not key.startswith('model.')})
    return config


def _runs_of(method: str, base: str, seeds: Sequence[int], work_dir: Path, options: dict | None) -> list[Run]:
    config = _load(method if is_config(method) else base, options)
    if is_config(method):
        _require_same_test(config, _load(base, options))
    else:
        config.model.backbone.peft = parse_method(method)
    model = build_to_count(copy.deepcopy(config))
    backbone, total = count_parameters(model.backbone)[0], count_parameters(model)[0]
    facts = dict(config=str(Path(config.filename).resolve()), metric=main_metric(config), versions=_versions(model),
                 trained_parameters=dict(backbone=backbone, head=total - backbone, total=total))
    runs = []
    for seed in seeds:
        seeded = copy.deepcopy(config)
        seeded.merge_from_dict({'randomness.seed': seed})
        settings = _settings(seeded)
        runs.append(Run(method, seed, work_dir / label(method) / f'seed{seed}', seeded, {**facts, 'settings': settings}))
        _require_same_settings(runs[-1])
    return runs


def _settings(config: Config) -> dict:
    """The whole config as JSON, without what the tools set."""
    settings = {key: value for key, value in config.to_dict().items() if key not in ('work_dir', 'launcher')}
    return _completed(json.loads(json.dumps(settings, default=str)))


def _completed(settings: dict) -> dict:
    """With the method's defaults of this version written out, so that a new option changes nothing."""
    backbone = settings['model']['backbone']
    if backbone.get('peft'):
        backbone['peft'] = _complete(PEFT, backbone['peft'])
    return settings


def _require_same_test(config: Config, base: Config) -> None:
    found, expected = map(_test, (config, base))
    if found != expected:
        raise ValueError(f'its scores cannot stand beside those of {base.filename}: {differences(found, expected)}; expected '
                         'the same test data set and evaluator.')


def _test(config: Config) -> dict:
    settings = _settings(config)
    dataset = {key: value for key, value in settings['test_dataloader']['dataset'].items() if key != 'pipeline'}
    return dict(test_dataset=dataset, test_evaluator=settings['test_evaluator'])


def _require_same_settings(run: Run) -> None:
    file, asked = run.result if run.result.exists() else run.journal, run.facts['settings']
    if file.exists() and (run.begun or file == run.result):
        found = _completed(json.loads(file.read_text())['settings'])
        if found != asked:
            raise ValueError(f'{run.folder} holds a run with other settings: {differences(found, asked)}. Move that folder '
                             'away, take another --work-dir, or ask for what it holds.')


def differences(found: dict, asked: dict) -> str:
    """Where two nested dicts differ, at most three entries: ``optimizer.lr: found 0.1, asked 0.2``."""
    def walk(one, other, name: str) -> list[str]:
        if isinstance(one, dict) and isinstance(other, dict):
            return [line for key in {**one, **other}
                    for line in walk(one.get(key, 'nothing'), other.get(key, 'nothing'), f'{name}.{key}')]
        return [] if one == other else [f'{name[1:]}: found {one!r:.80}, asked {other!r:.80}']
    lines = walk(found, asked, '')
    return '; '.join(lines[:3]) + (f' and {len(lines) - 3} more' if len(lines) > 3 else '')


def _versions(model: nn.Module) -> dict[str, str]:
    """Of what the model runs on; of PEFT by Hugging Face where the model has a module of it."""
    versions = dict(python=platform.python_version(), torch=torch.__version__, mmengine=mmengine.__version__,
                    mmcv=mmcv.__version__, mmseg=mmseg.__version__, mmsam_peft=__version__)
    if any(type(module).__module__.split('.')[0] == 'peft' for module in model.modules()):
        versions['peft'] = version('peft')
    return versions
