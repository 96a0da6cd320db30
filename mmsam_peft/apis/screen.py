"""What a training and a test show: what is about to happen, how far it is, what came of it."""

import shlex
import time
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..engine.hooks.adapter_hook import LAST
from ..engine.unwrapping import unwrapped
from ..models.segmentors import PEFTSegmentor
from .console import console_of
from .tool_paths import tool

EVERY = 10, 0.01
"""A line of progress every so many seconds, or after this part of the training, whichever is
later."""
ON_TERMINAL = 0.5
"""Seconds after which a terminal's line is written anew."""


class ScreenHook(Hook):
    """A summary before the first step, a line of progress from the first iteration on, and where
    everything is at the end. For the first process alone.

    Args:
        config: How the user named the config.
        changed: Whether the command line changed it.
    """

    priority = 'BELOW_NORMAL'  # before the learning rate of the next iteration is set

    def __init__(self, config: str | None, changed: bool = False) -> None:
        self.config, self.changed, self.console = config, changed, None

    def before_run(self, runner: Runner) -> None:
        self.console = console_of(runner)

    def before_train(self, runner: Runner) -> None:
        self.began = self.shown = time.monotonic()
        self.first = runner.iter
        if self.console:
            for name, text in summary(runner, self.config):
                self.console.say(f'{name:<10} {text}')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        if not self.console:
            return
        now, done = time.monotonic(), runner.iter + 1 - self.first
        left = (now - self.began) / done * (runner.max_iters - runner.iter - 1)
        seconds, part = EVERY
        pause = max(seconds, part * (now - self.began + left))
        if self.console.stream.isatty():
            pause = ON_TERMINAL
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        length = len(runner.train_dataloader) if by_epoch else runner.max_iters
        last = runner.iter + 1 == runner.max_iters or (by_epoch and batch_idx + 1 == length)
        if done == 1 or last or now - self.shown >= pause:
            self.shown = now
            at = f'[{runner.epoch + 1}][{batch_idx + 1}/{length}]'
            if not by_epoch:
                at = f'[{runner.iter + 1}/{length}]'
            text = f'Epoch(train) {at}' if by_epoch else f'Iter(train) {at}'
            loss, rate = (outputs or {}).get('loss'), learning_rate(runner)
            loss = None if loss is None else float(torch.as_tensor(loss).detach())
            text += f'  loss: {loss:.4f}' if loss is not None else ''
            text += f'  lr: {rate:.2e}' if rate is not None else ''
            self.console.progress(f'{text}  left: {duration(left)}')

    def before_val_epoch(self, runner: Runner) -> None:
        self.val_shown = time.monotonic()

    before_test_epoch = before_val_epoch

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._held_out(f'Epoch(val) [{batch_idx + 1}/{len(runner.val_dataloader)}]')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self._held_out(f'Epoch(test) [{batch_idx + 1}/{len(runner.test_dataloader)}]')

    def _held_out(self, text: str) -> None:
        now = time.monotonic()
        if self.console:
            pause = ON_TERMINAL if self.console.stream.isatty() else EVERY[0]
            if now - self.val_shown >= pause:
                self.val_shown = now
                self.console.progress(text)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.console and metrics:
            step = f'[{runner.epoch}]' if _by_epoch(runner) else f'[{runner.iter}]'
            self.console.say(f'Epoch(val) {step}  {scores(metrics)}')

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self.console and metrics:
            self.console.say(f'Epoch(test)  {scores(metrics)}')

    def after_train(self, runner: Runner) -> None:
        self.ended = True

    def after_run(self, runner: Runner) -> None:
        if self.console and getattr(self, 'ended', False):
            config = self.config
            if self.changed:  # MMEngine has dumped it as it was trained
                config = str(Path(runner.work_dir) / Path(runner.cfg.filename).name)
            for line in closing(runner, config, time.monotonic() - self.began):
                self.console.say(line)


def summary(runner: Runner, config: str | None) -> list[tuple[str, str]]:
    """At most ten lines on what is about to be trained, (name, text)."""
    cfg, model = runner.cfg, unwrapped(runner)
    loader, loop = runner.train_dataloader, runner.train_loop
    lines = [('config', str(config))]
    network = type(getattr(model, 'backbone', model)).__name__
    if side := getattr(getattr(model, 'backbone', None), 'img_size', None):
        network += f', {side[0]} x {side[1]} pixels'
    if source := cfg.model.get('checkpoint'):
        network += f', weights {getattr(model, "checkpoint", source)}'
    lines.append(('model', f'{type(model).__name__} on {network}'))
    if isinstance(model, PEFTSegmentor):
        method = dict(model.peft_cfg)
        arguments = ', '.join(f'{key}={value!r}' for key, value in method.items() if key != 'type')
        lines.append(('method', f'{method["type"]}({arguments})' if arguments else method['type']))
    held_out = runner.val_loop.dataloader.dataset if runner.val_loop else []
    lines.append(
        (
            'data',
            f'{len(loader.dataset)} images to train on, {len(held_out)} to validate on '
            f'({type(loader.dataset).__name__})',
        )
    )
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    length = f'{runner.max_iters} iterations'
    if isinstance(loop, EpochBasedTrainLoop):
        length = f'{runner.max_epochs} epochs of {len(loader)} iterations'
    batch = getattr(loader, 'batch_size', None) or '?'
    lines.append(
        ('schedule', f'{length}, batch {batch}, {optimizer.get("type")} {optimizer.get("lr")}')
    )
    if runner.iter:
        lines.append(('goes on', f'after iteration {runner.iter}'))
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device)
    lines.append(('device', name + (f', {runner.world_size} processes' * runner.distributed)))
    best = (cfg.get('default_hooks') or {}).get('checkpoint', {}).get('save_best')
    if best:
        lines.append(('best by', ', '.join([best] if isinstance(best, str) else best)))
    lines.append(('work dir', f'{runner.work_dir} (log, environment and config: {runner.log_dir})'))
    return lines


def closing(runner: Runner, config: str | None, seconds: float) -> list[str]:
    """What came of a training: the best score, the files, and the next two commands."""
    info, folder = runner.message_hub.runtime_info, Path(runner.work_dir)
    scores_of = {
        key.removeprefix('best_score').lstrip('_'): value
        for key, value in info.items()
        if key.startswith('best_score')
    }
    metric = (runner.cfg.get('default_hooks') or {}).get('checkpoint', {}).get('save_best')
    best = ', '.join(
        f'{name or metric} {value:.2f}'
        for name, value in scores_of.items()
        if isinstance(value, Real)
    )
    lines = ['', f'Trained for {duration(seconds)}.' + (f' Best: {best}.' if best else '')]
    adapters = sorted(folder.glob('adapter_best*.safetensors')) or sorted(folder.glob(LAST))
    weights = adapters or sorted(folder.glob('best_*.pth')) or sorted(folder.glob('epoch_*.pth'))
    if weights:
        lines.append(f'{"adapter" if adapters else "weights":<10} {weights[0]}')
    pictures = Path(runner.log_dir) / 'vis_data' / 'vis_image'
    for name, path in (('pictures', pictures), ('report', folder / 'report.html')):
        if path.exists():
            lines.append(f'{name:<10} {path}')
    if weights:
        called = shlex.join([str(config), str(weights[0])])
        lines += ['next', f'  {tool("test.py")} {called}']
        alone = shlex.quote(str(weights[0])) if adapters else called  # an adapter file suffices
        lines += [f'  {tool("predict.py")} {alone} IMAGES']
    return lines


def scores(metrics: dict) -> str:
    """``Dice: 54.02  IoU: 38.41``."""
    return '  '.join(
        f'{name}: {value:.4f}' if isinstance(value, float | np.floating) else f'{name}: {value}'
        for name, value in metrics.items()
    )


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, ``0:01:29``."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{rest:02}'


def _by_epoch(runner: Runner) -> bool:
    return isinstance(runner._train_loop, EpochBasedTrainLoop)


def learning_rate(runner: Runner) -> float | None:
    """The highest of all parameter groups; None with several optimizers."""
    groups = getattr(runner.optim_wrapper, 'param_groups', None)
    return max(group['lr'] for group in groups) if groups else None
