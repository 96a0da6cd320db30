"""The scores of every test image alone."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ...registry import HOOKS, METRICS


@HOOKS.register_module()
class ImageScoresHook(Hook):
    """Scores each test image as a data set of its own, with metrics of its own.

    Attributes:
        scores: After the test, ``{image path: {metric: value}}``, in the order of the paths; from
            all processes.

    Args:
        evaluator: The test evaluator's config.
    """

    def __init__(self, evaluator: dict | Sequence[dict]) -> None:
        configs = [evaluator] if isinstance(evaluator, dict) else evaluator
        self.metrics: list[BaseMetric] = [METRICS.build(config) for config in configs]
        self.scores: dict[str, dict[str, float]] = {}

    def before_test_epoch(self, runner: Runner) -> None:
        self.scores = {}
        for metric in self.metrics:
            metric.dataset_meta = runner.test_dataloader.dataset.metainfo

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence = ()
    ) -> None:
        with _silent():
            for sample in outputs:
                self.scores[sample.img_path] = self._scores(data_batch, sample.to_dict())

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        found = {
            path: scores for part in all_gather_object(self.scores) for path, scores in part.items()
        }
        self.scores = {path: found[path] for path in sorted(found)}

    def _scores(self, data_batch: dict, sample: dict) -> dict[str, float]:
        found = {}
        for metric in list(self.metrics):
            try:
                found |= _alone(metric, data_batch, sample)
            except Exception as error:  # of a metric that is not made for this
                self.metrics.remove(metric)
                warnings.warn(
                    f'{type(metric).__name__} cannot score an image alone ({error!r}): its '
                    'differences will have no interval over images.',
                    stacklevel=1,
                )
        return found


def _alone(metric: BaseMetric, data_batch: dict, sample: dict) -> dict[str, float]:
    metric.results.clear()
    metric.process(data_batch, [sample])
    try:
        values = metric.compute_metrics(metric.results)
    except ValueError:  # an image without a labelled pixel
        values = {}
    metric.results.clear()
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    return {prefix + name: float(value) for name, value in values.items()}


@contextmanager
def _silent() -> Iterator[None]:
    """MMSegmentation's metrics print a table each time."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
