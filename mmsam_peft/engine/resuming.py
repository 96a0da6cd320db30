"""What a training goes on from, and whether it may."""

from pathlib import Path

from mmengine.runner import EpochBasedTrainLoop, Runner

from .checkpoints import (
    newest_checkpoint,
    outdated_best,
    set_aside,
    training_states,
    why_not_resumable,
)
from .run_settings import differences, run_settings
from .unwrapping import unwrapped

RECORD = {'settings', 'random', 'validated', 'sampler_seed', 'gradients'}
OTHERWISE = (
    'To start a new training from its weights instead, leave --resume out, name the file as '
    'load_from, and choose another --work-dir.'
)


def find_checkpoint(runner: Runner, folder: Path, template: str) -> str | None:
    """The newest checkpoint in ``folder`` that is whole. None: a training ended there before its
    first.

    Raises:
        FileNotFoundError: There is none, or no training was begun there.
    """
    path, faults = newest_checkpoint(folder, template)
    aside = ''.join(f'\n  {name} was left aside: {fault}' for name, fault in faults.items())
    if path:
        log = runner.logger.warning if faults else runner.logger.info
        log(f'Going on from {path}, the newest checkpoint that is whole.{aside}')
        return str(path)
    if faults:
        raise FileNotFoundError(
            f'There is no whole checkpoint to resume from in {folder}.{aside}\n'
            'Start again without --resume; what is there is moved aside.'
        )
    logs = Path(runner.work_dir).glob('*/*.log')
    if all(log.parent.name == runner.timestamp for log in logs):
        raise FileNotFoundError(
            f'There is nothing to resume in {folder}: no training was begun there. '
            'Name its folder by --work-dir, or leave --resume out.'
        )
    runner.logger.warning(
        f'The training in {folder} ended before its first checkpoint: it begins anew.'
    )
    return None


def training_record(runner: Runner, checkpoint: dict) -> dict:
    """What a loaded checkpoint says of its training; empty where another version saved it.

    Raises:
        ValueError: It has no training state, or belongs to another training.
    """
    path, asked = runner._load_from, run_settings(runner)
    if fault := why_not_resumable(checkpoint):
        raise ValueError(
            f'Training cannot be resumed from {path}: {fault}. Resume from the last checkpoint of '
            'a '
            'work directory by --resume without load_from; adapters, best checkpoints and other '
            'weights are for load_from without --resume.'
        )
    record = checkpoint.get('training')
    record = record if isinstance(record, dict) and record.keys() >= RECORD else {}
    if not record:
        runner.logger.warning(
            f'{path} was saved by another program or version: whether its settings are those of '
            'this training is unknown, and its random state is lost.'
        )
    elif other := differences(record['settings'], asked):
        lines = '\n  '.join(other[:20])
        raise ValueError(
            f'{path} belongs to a training with other settings:\n  {lines}\n'
            f'Resume with the settings it was begun with. {OTHERWISE}'
        )
    model = unwrapped(runner)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if missing := sorted(trained - checkpoint['state_dict'].keys()):
        raise ValueError(
            f'{path} belongs to another model: it has no {", ".join(missing[:3])} '
            f'({len(missing)} of {len(trained)} trained parameters are missing). {OTHERWISE}'
        )
    loop, meta = runner.train_loop, checkpoint['meta']
    done, length, unit = meta['iter'], loop.max_iters, 'iterations'
    if isinstance(loop, EpochBasedTrainLoop):
        done, length, unit = meta['epoch'], loop.max_epochs, 'epochs'
    if done > length:
        raise ValueError(
            f'{path} was saved after {done} {unit}, but training is to last {length}: there is '
            'nothing left to train.'
        )
    return record


def validation_is_due(runner: Runner, validated: int) -> bool:
    """Whether the loop would have validated the resumed weights at once.

    Args:
        validated: The iteration after which training was validated last.
    """
    loop = runner.train_loop
    if runner.val_loop is None or validated == loop.iter:
        return False
    loop._decide_current_val_interval()
    step, length = loop.iter, loop.max_iters
    if isinstance(loop, EpochBasedTrainLoop):
        if loop.iter != loop.epoch * len(loop.dataloader):
            return False
        step, length = loop.epoch, loop.max_epochs
    at_step = step % loop.val_interval == 0 or step == length
    return at_step and step >= max(loop.val_begin, 1)


def tidy(runner: Runner, folder: Path, template: str) -> None:
    """Removes best checkpoints that better ones replaced, and moves those aside that are later than
    the resumed one."""
    for key, value in runner.message_hub.runtime_info.items():
        if key.startswith('best_ckpt'):
            for path in outdated_best(folder, Path(value)):
                path.unlink()
    later = []
    for path in training_states(folder, template):
        step = path.stem.rsplit('_', 1)[-1]
        now = runner.epoch if path.name.startswith('epoch_') else runner.iter
        if step.isdigit() and int(step) > now:
            later.append(path)
    if later:
        place, names = set_aside(folder, later), ', '.join(path.name for path in later)
        runner.logger.warning(f'{names}: later than what is resumed, moved to {place}')
