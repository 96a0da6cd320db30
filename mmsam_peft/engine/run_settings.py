"""What a training must have in common with the one it goes on from."""

import json
import os
from pathlib import Path

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner

FREE = ('checkpoint', 'init_cfg', 'data_root', 'test_cfg', 'lazy_init', 'backend_args')
"""Keys of model and data set that may differ: where things are, and what is not training."""


def run_settings(runner: Runner) -> dict:
    """What decides how the weights go on from here, as plain data. Where files are, how they are
    loaded, logged and validated is left out. ``schedule`` may differ when training is resumed, the
    rest may not."""
    cfg, loop = runner.cfg, runner.train_loop
    loader = cfg.get('train_dataloader') or {}
    batches = runner.train_dataloader.batch_sampler
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    return _plain(
        dict(
            model=cfg.get('model') or type(runner.model).__name__,
            optim_wrapper=cfg.get('optim_wrapper'),
            train_dataloader=dict(dataset=loader.get('dataset'), sampler=loader.get('sampler')),
            images=len(runner.train_dataloader.dataset),
            images_per_step=getattr(batches, 'batch_size', 0) * get_world_size(),
            seed=cfg.get('randomness', {}).get('seed'),
            schedule=dict(
                length=[
                    loop.max_epochs if by_epoch else loop.max_iters,
                    'epochs' if by_epoch else 'iterations',
                ],
                param_scheduler=cfg.get('param_scheduler'),
            ),
        )
    )


def differences(found: dict, asked: dict) -> list[str]:
    """Where two settings differ, schedules apart: ``'optimizer.lr: 0.1 in the checkpoint, 0.2
    asked'``."""

    def walk(one, other, name: str) -> list[str]:
        if isinstance(one, dict) and isinstance(other, dict):
            return [
                line
                for key in {**one, **other}
                for line in walk(one.get(key), other.get(key), f'{name}.{key}')
            ]
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            return [
                line
                for i, pair in enumerate(zip(one, other, strict=True))
                for line in walk(*pair, f'{name}.{i}')
            ]
        return (
            []
            if one == other
            else [f'{name[1:]}: {one!r:.80} in the checkpoint, {other!r:.80} asked']
        )

    free = {'schedule'} | (
        {'seed'} if None in (found.get('seed'), asked.get('seed')) else set()
    )  # MMEngine takes the stored seed
    found, asked = (
        {key: value for key, value in side.items() if key not in free} for side in (found, asked)
    )
    return walk(found, asked, '')


def _plain(value):
    """Configs as JSON gives them back, without what may differ."""

    def clean(value):
        if isinstance(value, dict):
            return {str(key): clean(item) for key, item in value.items() if key not in FREE}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value

    return json.loads(json.dumps(clean(value), default=str))
