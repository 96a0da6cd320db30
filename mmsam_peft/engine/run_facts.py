"""How a training came about, for its report: settings, versions, device, command."""

import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner

PACKAGES = ('torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'numpy')

PRECISIONS = dict(
    OptimWrapper='float32', AutocastOptimWrapper='bfloat16', AmpOptimWrapper='float16'
)


def settings(cfg: Config) -> dict[str, str]:
    """What one changes most, in words; what a config does not have is left out."""
    model, loop = cfg.get('model') or {}, cfg.get('train_cfg') or {}
    backbone = model.get('backbone') or {}
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    loader = cfg.get('train_dataloader') or {}
    size = backbone.get('img_size')
    test = model.get('test_cfg') or {}
    found = dict(
        config=cfg.filename,
        protocol=cfg.get('protocol'),
        encoder=f'{backbone.get("type")} {_arch(backbone.get("arch"))}'.strip(),
        method=_call(backbone.get('peft') or dict(type='Full')),
        head=_type(model.get('decode_head'))
        or ', '.join(_call(task) for task in model.get('tasks') or ()),
        loss=_losses(model.get('decode_head')),
        weights=model.get('checkpoint') or 'none: from random values',
        image_size=size,
        window=f'{test.get("crop_size")}, stride {test.get("stride")}'
        if test.get('mode') == 'slide'
        else None,
        length=_length(loop),
        batch_size=loader.get('batch_size'),
        optimizer=_call(optimizer) if optimizer else None,
        augmentation=_augmentation(loader),
        precision=PRECISIONS.get(_type(cfg.get('optim_wrapper'))),
    )
    return {name.replace('_', ' '): str(value) for name, value in found.items() if value}


def environment(runner: Runner) -> dict[str, str]:
    device = next(runner.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.processor()
    processes = get_world_size()
    return {
        'command': shlex.join([sys.executable.rpartition('/')[2], *sys.argv]),
        'seed': str(runner.seed),
        'device': f'{device.type} {name or platform.machine()}'
        + (f', {processes} processes' if processes > 1 else ''),
        'python': platform.python_version(),
        'mmsam_peft': _version('mmsam_peft'),
        **{package: _version(package) for package in PACKAGES},
        'system': platform.platform(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'


def _length(loop: Mapping) -> str | None:
    for key, unit in (('max_epochs', 'epochs'), ('max_iters', 'iterations')):
        if loop.get(key):
            return f'{loop[key]} {unit}'
    return None


def _augmentation(loader: Mapping) -> str:
    dataset = loader.get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    names = [_type(step) for step in dataset.get('pipeline') or ()]
    return ', '.join(name for name in names if name and not name.startswith(('Load', 'Pack')))


def _losses(head: Mapping | None) -> str | None:
    losses = (head or {}).get('loss_decode')
    listed = losses if isinstance(losses, list | tuple) else [losses] if losses else []
    return ', '.join(_call(one) for one in listed) or None


def _arch(arch) -> str:
    if isinstance(arch, Mapping):
        return f'({arch.get("embed_dim")} wide, {arch.get("depth")} deep)'
    return str(arch or '')


def _type(config: Mapping | None) -> str:
    kind = (config or {}).get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def _call(config: Mapping) -> str:
    """LoRA(rank=8)."""
    others = ', '.join(f'{key}={value}' for key, value in config.items() if key != 'type')
    return f'{_type(config)}({others})' if others else _type(config)
