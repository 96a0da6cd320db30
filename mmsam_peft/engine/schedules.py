"""Another schedule for a training that is already under way."""

import math
import warnings

from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner


def without_empty_parts(schedulers: list, epoch_length: int) -> list:
    """The parts of a schedule without those of some hundredth of an epoch that has not one
    iteration, such as a warm-up of a short training: MMEngine refuses them."""

    def empty(part: dict) -> bool:
        if not isinstance(part, dict) or not part.get('convert_to_iter_based'):
            return False
        begin, end = part.get('begin', 0), part.get('end')
        return (
            end is not None and begin < end and int(begin * epoch_length) == int(end * epoch_length)
        )

    return [part for part in schedulers if not empty(part)]


def check_schedule(found: dict, asked: dict) -> None:
    """Raises ValueError when training becomes longer but its schedulers do not; see
    ``run_settings``."""
    (old, unit), (new, _) = found['length'], asked['length']
    schedulers = asked['param_scheduler'] or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    ends = {
        number: one.get('end') or math.inf  # without, it lasts as long as training
        for number, one in enumerate(schedulers)
        if one.get('by_epoch', True) == (unit == 'epochs')
    }
    reached = [number for number, end in ends.items() if end == old]
    same_unit = found['length'][1] == asked['length'][1]
    if same_unit and reached and new > max(ends.values()):
        where = f'param_scheduler.{reached[-1]}.end'
        if len(schedulers) == 1:
            where = 'param_scheduler.end'
        raise ValueError(
            f'Training was to last {old} {unit} and is now to last {new}, but its learning rate '
            'still '
            f'reaches its end after {old}: set the schedule to the new length too '
            f'(--cfg-options {where}={new}).'
        )


def first_values(runner: Runner) -> list[dict[str, float]]:
    """What the schedulers, just built, made of each parameter group: learning rates, momenta."""
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        raise ValueError(
            'With several optimizers, resume with the schedule the training was begun with.'
        )
    return [
        {key: value for key, value in group.items() if f'initial_{key}' in group}
        for group in runner.optim_wrapper.param_groups
    ]


def follow_schedule(runner: Runner, first: list[dict[str, float]]) -> None:
    """Moves the config's schedulers to the present iteration, as if they had been there from the
    start.

    Args:
        first: See ``first_values``, before the checkpoint's values took their place.
    """
    loop, schedulers = runner.train_loop, runner.param_schedulers or []
    if any(getattr(one, 'need_val_args', False) for one in schedulers):
        raise ValueError(
            'A scheduler that follows the validation scores cannot use another place in its '
            'schedule: resume with the schedule the training was begun with.'
        )
    for group, values in zip(runner.optim_wrapper.param_groups, first, strict=True):
        group.update(values)
    length = len(loop.dataloader)
    ends_of_epochs = (
        range(length, loop.epoch * length + 1, length)
        if isinstance(loop, EpochBasedTrainLoop)
        else ()
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimizer has made no step yet
        for step in range(1, loop.iter + 1):
            _step(schedulers, by_epoch=False)
            if step in ends_of_epochs:
                _step(schedulers, by_epoch=True)


def _step(schedulers: list, by_epoch: bool) -> None:
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()
