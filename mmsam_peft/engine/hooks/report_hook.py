"""report.html in the work directory."""

import json
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from ...datasets.checks.dataset import inner_datasets
from ...datasets.pictures import read_as
from ...evaluation.collector import Collector
from ...evaluation.multi_task_metric import MultiTaskMetric
from ...evaluation.record import write_record
from ...registry import HOOKS
from ...visualization.report import write_report
from ...visualization.report.work_dir import FACTS, FOLDER
from ...whole_files import write_whole
from ..best import best_checkpoint, main_score
from ..run_facts import environment, settings
from ..unwrapping import unwrapped
from .check_data_hook import CheckDataHook
from .finite_hook import FiniteHook


@HOOKS.register_module()
class ReportHook(Hook):
    """Keeps what the report of a training needs, and writes it when training or a test has ended,
    or when training is stopped; see docs/report.md.

    Scores of single images are those of the metrics while they evaluate. The validation that is
    kept is that of the best checkpoint, or the last one where no best is chosen. A report that
    cannot be written is a warning: training does not depend on it.
    """

    priority = 'LOWEST'  # after CheckpointHook, which knows what is best

    collector = None
    best = None
    """The best checkpoint when the last validation was kept."""

    # Training

    def before_train(self, runner: Runner) -> None:
        self.best = best_checkpoint(runner)
        if not is_main_process():
            return
        folder, before = Path(runner.work_dir) / FOLDER, {}
        if runner.iter:
            before = _read(folder / FACTS)
        else:
            for name in ('val.npz', 'test.npz', FACTS):
                (folder / name).unlink(missing_ok=True)
        self.before = before.get('steps_left_out', 0)
        self.facts = dict(
            runs=[*before.get('runs', []), runner.timestamp],
            settings=settings(runner.cfg),
            environment=environment(runner),
            data={},
            ended='running',
        )
        for hook in runner.hooks:
            if isinstance(hook, CheckDataHook):
                self.facts['data'] = hook.summaries
        if runner.iter and not before:  # trained by an older version
            self.facts.pop('runs')
        self._keep_facts(runner)

    def after_train(self, runner: Runner) -> None:
        self._end(runner, 'finished')

    def save_before_stopping(self, runner: Runner, meta: dict) -> None:
        """Called by ``StopHook``."""
        self._end(runner, 'stopped')
        barrier()

    def _end(self, runner: Runner, how: str) -> None:
        if is_main_process():
            self.facts['ended'] = how
            self._keep_facts(runner)
            self._write(runner)

    def _keep_facts(self, runner: Runner) -> None:
        left_out = [hook.left_out for hook in runner.hooks if isinstance(hook, FiniteHook)]
        self.facts['steps_left_out'] = self.before + sum(left_out)
        try:
            text = json.dumps(self.facts, indent=1, default=str)
            write_whole(Path(runner.work_dir) / FOLDER / FACTS, text.encode())
        except OSError as error:
            runner.logger.warning(f'The report will lack settings and data: {error}')

    def _write(self, runner: Runner) -> None:
        try:
            write_report(runner.work_dir)
        except Exception as error:  # a picture of a kind that nobody thought of, a full disk
            runner.logger.warning(
                f'The report could not be written ({type(error).__name__}: {error}). '
                f'python tools/analysis_tools/report.py {runner.work_dir} tries again.'
            )

    # Evaluation

    def before_val_epoch(self, runner: Runner) -> None:
        self._begin(runner, runner.val_loop)

    def before_test_epoch(self, runner: Runner) -> None:
        self._begin(runner, runner.test_loop)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence = ()
    ) -> None:
        self.collector.add(outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence = ()
    ) -> None:
        self.collector.add(outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        best = best_checkpoint(runner)
        wanted = best is None or best != self.best
        self._finish(runner, runner.val_loop, 'val', metrics, wanted)
        self.best = best

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._finish(runner, runner.test_loop, 'test', metrics, wanted=True)
        if is_main_process():
            self._write(runner)

    def _begin(self, runner: Runner, loop: BaseLoop) -> None:
        metrics, model = loop.evaluator.metrics, _segmentor(runner)
        views = _views(loop, metrics)
        self.collector = Collector(metrics, views, main_score(runner), curve=_binary(model, views))

    def _finish(
        self, runner: Runner, loop: BaseLoop, split: str, metrics: dict | None, wanted: bool
    ) -> None:
        collector, self.collector = self.collector, None
        if not wanted:
            return
        trained = isinstance(runner._train_loop, BaseLoop)
        info = dict(
            split=split,
            scores={
                name: float(value)
                for name, value in (metrics or {}).items()
                if isinstance(value, Real)  # of NumPy too
            },
            iteration=runner.iter if trained else None,
            epoch=runner.epoch if trained else None,
            threshold=_threshold(_segmentor(runner)),
            pixels=read_as(loop.dataloader.dataset),
            weights=None if trained else os.path.basename(str(runner._load_from or '')),
        )
        record = collector.finish(len(loop.dataloader.dataset), info)
        if record is not None:
            try:
                write_record(record, Path(runner.work_dir) / FOLDER / f'{split}.npz')
            except OSError as error:
                runner.logger.warning(f'The report will lack this evaluation: {error}')


def _views(loop: BaseLoop, metrics: Sequence[BaseMetric]) -> dict[str, dict]:
    """What is predicted, with what its pictures need."""
    tasks = {
        task.name: dict(task=config)
        for metric in metrics
        if isinstance(metric, MultiTaskMetric)
        for task, config in zip(metric.tasks, metric.task_configs, strict=True)
    }
    if tasks:
        return tasks
    dataset = loop.dataloader.dataset
    meta = getattr(dataset, 'metainfo', {})
    ignore = {getattr(part, 'ignore_index', 255) for part in inner_datasets(dataset)}
    return {
        '': dict(
            classes=list(meta.get('classes') or ()) or None,
            palette=[list(map(int, colour)) for colour in meta.get('palette') or ()] or None,
            ignore=min(ignore, default=255),
        )
    }


def _binary(model: nn.Module, views: dict) -> bool:
    channels = getattr(getattr(model, 'decode_head', None), 'out_channels', None)
    return list(views) == [''] and channels in (1, 2) and getattr(model, 'num_classes', 2) <= 2


def _threshold(model: nn.Module) -> float | None:
    """From which probability on a pixel is foreground."""
    head = getattr(model, 'decode_head', None)
    channels = getattr(head, 'out_channels', None)
    return getattr(head, 'threshold', None) if channels == 1 else 0.5 if channels == 2 else None


def _segmentor(runner: Runner) -> nn.Module:
    model = unwrapped(runner)
    return model.module if isinstance(model, BaseTTAModel) else model


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
