"""Another schedule for a training that is already under way."""

import copy
import warnings

from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner


def check_schedule(found: dict, asked: dict) -> None:
    """Raises ValueError when training becomes longer but the schedulers do not. See ``run_settings``."""
    (old, unit), (new, _) = found['length'], asked['length']
    schedulers = asked['param_scheduler'] or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    ends = [one.get('end') for one in schedulers if one.get('by_epoch', True) == (unit == 'epochs')]
    if found['length'][1] == asked['length'][1] and old < new and old in ends and new not in ends:
        where = (
            'param_scheduler.end'
            if len(schedulers) == 1
            else f'param_scheduler.{ends.index(old)}.end'
        )
        raise ValueError(
            f'Training was to last {old} {unit} and is now to last {new}, but its learning rate still reaches its '
            f'end after {old}: set the schedule to the new length too (--cfg-options {where}={new}).'
        )


def follow_schedule(runner: Runner) -> None:
    """Builds the config's schedulers anew and moves them to the present iteration, as if they had been there from the start."""
    wrapper, loop = runner.optim_wrapper, runner.train_loop
    if isinstance(wrapper, OptimWrapperDict):
        raise ValueError(
            'With several optimizers, resume with the schedule the training was begun with.'
        )
    for group in wrapper.param_groups:
        group.update(
            {
                key.removeprefix('initial_'): group[key]
                for key in list(group)
                if key.startswith('initial_')
            }
        )
    schedulers = copy.deepcopy(runner.cfg.get('param_scheduler')) or []
    runner.param_schedulers = runner.build_param_scheduler(schedulers)
    if any(getattr(one, 'need_val_args', False) for one in runner.param_schedulers):
        raise ValueError(
            'A scheduler that follows the validation scores cannot take another place in its schedule: resume with '
            'the schedule the training was begun with.'
        )
    length = len(loop.dataloader)
    ends_of_epochs = (
        range(length, loop.epoch * length + 1, length)
        if isinstance(loop, EpochBasedTrainLoop)
        else ()
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimizer has made no step yet
        for step in range(1, loop.iter + 1):
            _step(runner, by_epoch=False)
            if step in ends_of_epochs:
                _step(runner, by_epoch=True)


def _step(runner: Runner, by_epoch: bool) -> None:
    for scheduler in runner.param_schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()
