"""Ending a training that brings nothing better any more."""

from math import isnan
from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop

from ...registry import HOOKS

STATE = 'early_stopping'
"""Its place in a checkpoint."""
BETTER = dict(greater=lambda new, old: new > old, less=lambda new, old: new < old)


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Ends training when validation has brought nothing better for a while, and says where the best
    is. In the place of MMEngine's, with these differences: it follows what the best checkpoint is
    chosen by, and its patience is kept in checkpoints, so that a resumed training ends where an
    uninterrupted one does. A score that is NaN is no better.

    Args:
        patience: After so many validations in a row that are not better, training ends.
        monitor: The result of validation that is followed; None: ``save_best`` of
            ``CheckpointHook``.
        rule: 'greater' or 'less' is better; None: as ``CheckpointHook``.
        min_delta: What is better by no more than this counts as not better.

    Raises:
        ValueError: It is not clear what to follow, or which is better; ``patience`` is below 1.
    """

    priority = 'LOWEST'  # after CheckpointHook, which chooses the best

    def __init__(
        self,
        patience: int = 10,
        monitor: str | None = None,
        rule: str | None = None,
        min_delta: float = 0.0,
    ) -> None:
        if patience < 1 or rule not in (None, *BETTER):
            raise ValueError(
                f'EarlyStoppingHook got patience={patience}, rule={rule!r}, expected at least 1 '
                f"validation, and 'greater' or 'less'."
            )
        self.patience, self.monitor, self.rule, self.min_delta = patience, monitor, rule, min_delta
        self.state = dict(best=None, when='', waited=0)

    def before_train(self, runner: Runner) -> None:
        self._followed(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:
            checkpoint[STATE] = dict(self.state)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not (runner._resume and isinstance(runner._train_loop, BaseLoop)):
            return
        if isinstance(checkpoint.get(STATE), dict):
            self.state = {**self.state, **checkpoint[STATE]}
        else:
            runner.logger.warning(
                'The checkpoint does not say for how long validation has brought nothing better: '
                'EarlyStoppingHook begins to count.'
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not isinstance(runner._train_loop, BaseLoop):
            return
        monitor, rule = self._followed(runner)
        if monitor not in (metrics or {}):
            raise ValueError(
                f'EarlyStoppingHook follows {monitor}, but validation gives '
                f'{", ".join(metrics or {}) or "nothing"}: set its monitor to one of these.'
            )
        score, best = float(metrics[monitor]), self.state['best']
        margin = self.min_delta if rule == 'greater' else -self.min_delta
        if not isnan(score) and (best is None or BETTER[rule](score, best + margin)):
            self.state = dict(best=score, when=_when(runner), waited=0)
            return
        self.state['waited'] += 1
        loop = runner.train_loop
        if self.state['waited'] >= self.patience and not _at_end(loop):
            loop.stop_training = True
            runner.logger.info(self._last_words(runner, monitor))

    def _followed(self, runner: Runner) -> tuple[str, str | None]:
        rules: dict[str, str] = {}
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                rules.update(zip(hook.key_indicators, hook.rules, strict=True))
        monitor = self.monitor or next(iter(rules), None)
        if not monitor:
            raise ValueError(
                'EarlyStoppingHook does not know what to follow: set default_hooks.checkpoint.'
                "save_best to a result of validation, such as 'Dice', or the hook's monitor."
            )
        rule = self.rule or rules.get(monitor, None)
        if rule not in BETTER and monitor != 'auto':
            raise ValueError(
                f'EarlyStoppingHook does not know which {monitor} is better: set its rule to '
                "'greater' or 'less'."
            )
        return monitor, rule

    def _last_words(self, runner: Runner, monitor: str) -> str:
        best = (
            'no validation had one'
            if self.state['best'] is None
            else f'the best is {self.state["best"]:.4g}, {self.state["when"]}'
        )
        files = sorted(path.name for path in Path(runner.work_dir).glob('adapter_best*'))
        kept = f' It is kept: {", ".join(files)} in {runner.work_dir}.' if files else ''
        return (
            f'Training ends early, {_when(runner)}: {monitor} has not become better in the last '
            f'{self.state["waited"]} validations; {best}.{kept}'
        )


def _when(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'after epoch {runner.epoch}'
    return f'after iteration {runner.iter}'


def _at_end(loop: BaseLoop) -> bool:
    return loop.iter >= loop.max_iters
