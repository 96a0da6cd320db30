"""What the command-line tools share: reading a config, choosing precision, launching several
processes.

What needs the models is imported when it is used: faults of a config are found in a second.
"""

import os
import platform
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .configs import read_config
from .console import OurRunner, QuietRunner, format_once
from .names import check_names
from .overrides import apply_overrides
from .run_name import run_name
from .settings import check_settings

MMENGINES_HOOKS = dict(
    runtime_info='RuntimeInfoHook',
    timer='IterTimerHook',
    sampler_seed='DistSamplerSeedHook',
    logger='LoggerHook',
    param_scheduler='ParamSchedulerHook',
    checkpoint='CheckpointHook',
)
"""The types of those ``default_hooks`` that are there without being named."""


def load_config(
    path: str,
    cfg_options: dict | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
    task: str | None = None,
    amp: str | None = None,
    also_read: Sequence[str] = (),
) -> Config:
    """Reads a config. Its work directory is ``work_dir``, else the config's own, else work_dirs/
    and ``run_name``, which shows the config's ``protocol`` too.

    Args:
        task: The one task to keep of a config of several.
        amp: Mixed precision of the training, as ``use_mixed_precision`` knows it.
        also_read: What the tool reads beside the runner's settings; see ``apply_overrides``.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: No such task; float16 without a GPU; an option that would change nothing.
    """
    cfg = read_config(path)
    if task:
        from .single_task import keep_task

        keep_task(cfg, task)
    name_default_hooks(cfg)
    apply_overrides(cfg, cfg_options, also_read)
    if amp:
        use_mixed_precision(cfg, amp)
    cfg.launcher = launcher
    protocol = {'protocol': cfg.protocol} if cfg.get('protocol') else {}
    named = {**protocol, **(cfg_options or {})}
    cfg.work_dir = (
        work_dir or cfg.get('work_dir') or str(Path('work_dirs', run_name(path, named, task, amp)))
    )
    return cfg


def name_default_hooks(cfg: Config) -> None:
    """Gives MMEngine's own hooks their types, so that ``default_hooks.logger.interval=10``
    suffices."""
    hooks = cfg.get('default_hooks') or {}
    wanted = {
        name: kind for name, kind in MMENGINES_HOOKS.items() if hooks.get(name, {}) is not None
    }  # None: left out
    cfg.default_hooks = {
        **hooks,
        **{name: {'type': kind, **hooks.get(name, {})} for name, kind in wanted.items()},
    }


def use_mixed_precision(cfg: Config, dtype: str) -> None:
    """Sets the optimizer wrapper to 'bf16' (any device, no loss scaling) or 'fp16' (GPU, dynamic
    loss scaling)."""
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise ValueError('float16 training needs a GPU; on a CPU use --amp bf16.')
    warn_of_slow_bf16(dtype)
    cfg.optim_wrapper.type = {'bf16': 'AutocastOptimWrapper', 'fp16': 'AmpOptimWrapper'}[dtype]
    if dtype == 'fp16':
        cfg.optim_wrapper.loss_scale = 'dynamic'


def warn_of_slow_bf16(dtype: str = 'bf16') -> None:
    """Warns where PyTorch computes bfloat16 more slowly than float32: on x86 without AMX. With
    AVX512-BF16 alone a step takes 1.5 of the time (docs/speed.md), without it several times."""
    has_amx = getattr(torch.cpu, '_is_amx_tile_supported', None)
    x86 = platform.machine().lower() in ('x86_64', 'amd64')  # PyTorch can ask no others
    if dtype != 'bf16' or torch.cuda.is_available() or not x86 or has_amx is None or has_amx():
        return
    warnings.warn(
        'This CPU has no AMX, by which bfloat16 is fast: with --amp it computes more slowly than '
        'without. Leave --amp out.',
        stacklevel=2,
    )


def build_runner(cfg: Config, quiet: bool = False) -> Runner:
    """The runner of a config; with a launcher on a machine without GPUs, processes talk through
    gloo.

    Args:
        quiet: Show on the screen only what is of use there; the log file has everything.

    Raises:
        ValueError: Settings that cannot work, see ``engine/run_checks.py``.
    """
    from ..engine.run_checks import check_config, check_length

    check_config(cfg)
    check_settings(cfg)
    check_names(cfg)
    add_hooks_relied_on(cfg)
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = (
        '1'  # no torch.load in this process, whoever calls it, unpickles objects
    )
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group('gloo')
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        )
        replace_sync_bn(cfg.model)
    format_once()
    runner = (QuietRunner if quiet else OurRunner).from_cfg(cfg)
    if (cfg.get('train_dataloader') or {}).get(
        'drop_last'
    ):  # MMEngine's schedules fail on an empty epoch before any hook
        check_length(runner.train_dataloader, 'train', training=True)
    return runner


def add_hooks_relied_on(cfg: Config) -> None:
    """Adds to ``custom_hooks`` those of ``RELIED_ON`` that are not there: a config's own list
    replaces its base's."""
    from ..engine.hooks import RELIED_ON

    hooks = list(cfg.get('custom_hooks') or [])
    there = {
        _hook_name(hook) for hook in [*hooks, *(cfg.get('default_hooks') or {}).values()] if hook
    }
    cfg.custom_hooks = hooks + [dict(type=name) for name in RELIED_ON if name not in there]


def _hook_name(hook: Hook | dict) -> str:
    """The name of a hook's class. Configs name it with or without a scope, or hold the class or an
    instance."""
    kind = hook['type'] if isinstance(hook, dict) else type(hook)
    return kind.__name__ if isinstance(kind, type) else kind.rpartition('.')[2]


def replace_sync_bn(model: dict) -> None:
    """Sets BN for SyncBN, which refuses CPUs, throughout a model's config."""
    if model.get('type') == 'SyncBN':
        model.type = 'BN'
    for part in model.values():
        for module in part if isinstance(part, list) else [part]:
            if isinstance(module, dict):
                replace_sync_bn(module)
