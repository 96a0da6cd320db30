"""Ends a training between two steps, in all processes at the same one."""

import signal
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..stop_signals import StopSignals
from .checkpoint_hook import CheckpointHook, pending_gradients


class StopHook(Hook):
    """When a signal has asked for it, finishes the optimizer's step, saves a checkpoint to go on
    from, and raises ``SystemExit`` with 128 + the signal's number. Validation is left at once: it
    is made up for when training goes on.

    The signal reaches several processes at different steps: they agree on one, through the CPU.
    """

    priority = 'LOWEST'

    def __init__(self, signals: StopSignals) -> None:
        self.signals, self.group = signals, None

    def before_train(self, runner: Runner) -> None:
        if is_distributed():
            self.group = dist.new_group(backend='gloo')
        self.signals.arm()
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):  # before the loop asks whether to end early
                hook.make_up_validation(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        asked = self._together(self.signals.asked, dist.ReduceOp.MAX)
        if asked and not pending_gradients(runner):
            self._stop(runner, dict(epoch=runner.epoch, iter=runner.iter + 1), asked)

    def before_val_epoch(self, runner: Runner) -> None:
        # processes may have one image more or less
        self.common = self._together(len(runner.val_dataloader), dist.ReduceOp.MIN)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        asked = batch_idx < self.common and self._together(self.signals.asked, dist.ReduceOp.MAX)
        if asked:
            self._stop(runner, dict(epoch=runner.epoch, iter=runner.iter), asked)

    def _together(self, number: int, operation) -> int:
        if self.group is None:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, operation, self.group)
        return int(numbers)

    def _stop(self, runner: Runner, done: dict, number: int) -> None:
        runner.call_hook('save_before_stopping', meta=done)
        saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        saved = (
            f'Saved: {Path(saver.last_ckpt).name}. To go on, run the same command with --resume '
            f'(work directory {runner.work_dir}).'
            if saver
            else 'Nothing was saved, as the config has no CheckpointHook.'
        )
        runner.logger.warning(
            f'{signal.Signals(number).name}: training ends after iteration {done["iter"]}. {saved}'
        )
        raise SystemExit(128 + number)
