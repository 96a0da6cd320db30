"""Metrics that ask the model themselves."""

from collections.abc import Iterator

from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...evaluation import PerSetMetric
from ...registry import HOOKS
from ..unwrapping import unwrapped


@HOOKS.register_module()
class MetricModelHook(Hook):
    """Gives the model to metrics with a method ``bind``, such as ``ClickMetric``.

    Raises:
        ValueError: The metric cannot use this model.
    """

    def before_run(self, runner: Runner) -> None:
        for loop in (runner._val_loop, runner._test_loop):
            for metric in _all(getattr(getattr(loop, 'evaluator', None), 'metrics', ())):
                if hasattr(metric, 'bind'):
                    metric.bind(unwrapped(runner))


def _all(metrics: list[BaseMetric]) -> Iterator[BaseMetric]:
    for metric in metrics:
        yield metric
        if isinstance(metric, PerSetMetric):
            yield from _all(metric.metrics)
