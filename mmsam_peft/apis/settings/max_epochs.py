"""``max_epochs``: how long to train."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting


class MaxEpochs(Setting):
    """The epochs of a training. The schedule of the learning rate is stretched or shrunk with it:
    what ended with the last epoch does so again, and a warm-up of a tenth of the epochs stays one;
    parts that count iterations stay. Validation and checkpoints, every some epochs, become more
    frequent where training is shorter, so that there are as many of them.
    """

    name = 'max_epochs'
    example = '50'
    also = 'train_cfg.max_epochs'

    def read(self, given: Any) -> int:
        if type(given) is not int or given < 1:
            raise ValueError(
                f'max_epochs={given!r}: expected a whole number of epochs, at least 1.'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        loop = cfg.get('train_cfg') or {}
        if 'max_epochs' in loop:
            yield Place('train_cfg.max_epochs', loop, 'max_epochs', loop['max_epochs'])
        if parts := _by_epoch(cfg):
            place, last = max(parts, key=lambda part: part[1]['end'])
            yield Place(f'{place}.end', last, 'end', last['end'])

    def apply(self, cfg: Config, value: int) -> None:
        loop = cfg.get('train_cfg') or {}
        if 'max_iters' in loop:
            raise ValueError(
                f'max_epochs={value}, but this config counts iterations: set train_cfg.max_iters '
                'and the ends of param_scheduler, or take a schedule of epochs such as '
                'configs/_base_/schedules/adamw_30e.py.'
            )
        before = loop.get('max_epochs')
        parts = [part for _, part in _by_epoch(cfg)]
        written = [dict(part) for part in parts]
        super().apply(cfg, value)
        length = max((part['end'] for part in written), default=value)
        for part, old in zip(parts, written, strict=True):
            part.update(_stretched(old, value / length))
        if before and value < before:
            checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
            nodes = [(loop, 'val_interval'), (loop, 'val_begin'), (cfg, 'val_interval')]
            nodes += [(checkpoint, 'interval')] if checkpoint.get('by_epoch', True) else []
            for node, key in nodes:
                if type(node.get(key)) is int and node[key] > 0:
                    node[key] = max(1, node[key] * value // before)

    def disagreements(self, cfg: Config, value: int) -> list[str]:
        """An end of the schedule before that of training is allowed."""
        return [
            f'{place.name}: {place.value}'
            for place in self.places(cfg)
            if place.name == 'train_cfg.max_epochs' and place.value != value or place.value > value
        ]


def _by_epoch(cfg: Config) -> list[tuple[str, dict]]:
    """The parts of the schedule that end after some epochs, with their dotted names."""
    schedulers = cfg.get('param_scheduler') or []
    several = isinstance(schedulers, list | tuple)
    named = (
        [(f'param_scheduler.{number}', part) for number, part in enumerate(schedulers)]
        if several
        else [('param_scheduler', schedulers)]
    )
    return [(name, part) for name, part in named if part.get('by_epoch', True) and part.get('end')]


def _stretched(part: dict, factor: float) -> dict:
    """What changes of a part of a schedule. Parts of epochs are allowed where it is converted to
    iterations."""

    def scaled(epochs: float) -> float:
        exact = epochs * factor
        if exact == round(exact) or part.get('convert_to_iter_based'):
            return int(exact) if exact == int(exact) else exact
        return max(1, round(exact))

    changed = {key: scaled(part[key]) for key in ('begin', 'end', 'T_max') if part.get(key)}
    if part.get('milestones'):
        changed['milestones'] = [scaled(one) for one in part['milestones']]
    return changed
