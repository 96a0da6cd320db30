"""Fine-tuning methods side by side on one data set: what is asked, checked as a whole before
anything is trained."""

import copy
import json
import platform
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

from ..adapters.match import with_defaults
from ..apis.inference import build_to_count, is_adaptable
from ..apis.launch import load_config
from ..apis.overrides import apply_overrides
from ..engine.checkpoints import newest_checkpoint
from ..peft import count_parameters
from ..peft.notation import label, parse_method
from ..registry import PEFT
from ..version import __version__
from .settings import differences, peft_with_defaults, settings_of, test_of


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        method: As asked: a method, a call of one, or a config file.
        folder: Where everything of this run goes: DIR/LABEL/seedK.
        config: What is trained, with method, options and seed.
        facts: What result.json says of the run before it is made; ``settings`` is the config as
            JSON.
    """

    method: str
    seed: int
    folder: Path
    config: Config
    facts: dict

    @property
    def result(self) -> Path:
        """The numbers of the finished run."""
        return self.folder / 'result.json'

    @property
    def journal(self) -> Path:
        """The settings and what became of each attempt at the training."""
        return self.folder / 'attempts.json'

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return newest_checkpoint(self.folder)[0] is not None

    def require_same_settings(self) -> None:
        """Raises ValueError when the folder holds a run with other settings."""
        file = self.result if self.result.exists() else self.journal
        if file.exists() and (self.begun or file == self.result):
            found, asked = (
                peft_with_defaults(json.loads(file.read_text())['settings']),
                self.facts['settings'],
            )
            if found != asked:
                raise ValueError(
                    f'{self.folder} holds a run with other settings: {differences(found, asked)}. '
                    'Move that '
                    'folder away, use another --work-dir, or ask for what it holds.'
                )


def plan(
    config: str,
    methods: Sequence[str] | None,
    seeds: Sequence[int],
    work_dir: Path,
    options: dict | None = None,
    task: str | None = None,
) -> list[Run]:
    """The runs to make, seed by seed. Every model has been built once, without weights.

    Args:
        config: A config of a ``PEFTSegmentor``; each method takes the place of its
            ``model.backbone.peft``. For a multi-task model, methods that adapt the encoder for each
            task are made for its tasks.
        methods: Methods, calls of methods, config files (trained as they are). None: every
            registered method.
        options: Overrides of every config; those of the model only reach configs of a
            ``PEFTSegmentor``.
        task: The one task to keep of every config of several.

    Raises:
        ValueError: Something asked cannot be done, or a folder holds a run with other settings.
    """
    base = _load(config, options, task)
    if not is_adaptable(base):
        raise ValueError(
            f'{config} has a {base.model.type}, expected a config of a PEFTSegmentor; others go '
            'into --methods.'
        )
    methods = methods or sorted(PEFT.module_dict)
    for name, asked in (('--methods', methods), ('--seeds', seeds)):
        if len(set(asked)) < len(asked):
            raise ValueError(f'{name} got {" ".join(map(str, asked))}, expected each one once.')
    runs, faults = [], []
    for method in methods:
        try:
            runs.append(_runs_of(method, base, seeds, work_dir, options, task))
        except Exception as error:  # whatever the parts of a model raise
            faults.append(f'  {method}: {str(error) or repr(error)}')
    if faults:
        raise ValueError('Nothing was trained, because of\n' + '\n'.join(faults))
    return [run for same_seed in zip(*runs, strict=True) for run in same_seed]


def main_metric(config: Config) -> dict[str, str | None]:
    """The config's (first) ``save_best`` metric and its rule, 'greater' or 'less'. None: it names
    none."""
    hook = config.get('default_hooks', {}).get('checkpoint', {})
    named = dict(metric=hook.get('save_best'), rule=hook.get('rule'))
    first = {
        key: value[0] if isinstance(value, list | tuple) else value for key, value in named.items()
    }
    return first | ({'metric': None} if first['metric'] == 'auto' else {})


def main_score(result: dict) -> str:
    """The score of a result.json that stands for all: Delta_b, else what its config chooses the
    best checkpoint by, else the first."""
    scores = result['scores']
    delta = [name for name in scores if name.startswith('Delta_b/')]
    return next(name for name in (*delta, result['metric'], *scores) if name in scores)


def _load(path: str, options: dict | None, task: str | None) -> Config:
    config = load_config(path, task=task)
    ours = is_adaptable(config)
    apply_overrides(
        config,
        {
            key: value
            for key, value in (options or {}).items()
            if ours or not key.startswith('model.')
        },
    )
    return config


def _runs_of(
    method: str,
    base: Config,
    seeds: Sequence[int],
    work_dir: Path,
    options: dict | None,
    task: str | None,
) -> list[Run]:
    if method.endswith('.py'):
        config = _load(method, options, task)
        found, expected = (test_of(settings_of(one)) for one in (config, base))
        if found != expected:
            raise ValueError(
                f'its scores could not stand beside those of {base.filename}: '
                f'{differences(found, expected)}. '
                'Expected the same test data set and evaluator.'
            )
    else:
        config = copy.deepcopy(base)
        config.model.backbone.peft = parse_method(method)
    model = build_to_count(copy.deepcopy(config))
    peft = config.model.backbone.get('peft')
    if peft and 'tasks' in config.model and 'num_tasks' in with_defaults(PEFT, peft):
        peft.setdefault('num_tasks', len(config.model.tasks))  # as the model has set it
    backbone, total = count_parameters(model.backbone)[0], count_parameters(model)[0]
    facts = dict(
        trained_parameters=dict(backbone=backbone, head=total - backbone, total=total),
        **main_metric(config),
        versions=_versions(model),
        config=str(Path(config.filename).resolve()),
    )
    runs = []
    for seed in seeds:
        seeded = copy.deepcopy(config)
        seeded.merge_from_dict({'randomness.seed': seed})
        run = Run(
            method,
            seed,
            work_dir / label(method) / f'seed{seed}',
            seeded,
            {**facts, 'settings': settings_of(seeded)},
        )
        run.require_same_settings()
        runs.append(run)
    return runs


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
