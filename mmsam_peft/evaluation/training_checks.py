"""What training asks of its validation, looked at before it begins."""
from collections.abc import Mapping, Sequence

from mmengine.evaluator import BaseMetric

from ..tasks.base import Task
from .multi_task_metric import MultiTaskMetric

RULES = dict(higher='greater', lower='less')
"""MMEngine's words for what is better."""


def check_metrics(metrics: Sequence[BaseMetric], tasks: Mapping[str, Task], best: Mapping[str, str]) -> dict[str, Task]:
    """Compares the metrics of an evaluator with a multi-task model and with what the best checkpoint is chosen by.

    Args:
        metrics: The evaluator's. Only of ``MultiTaskMetric`` is known what it measures.
        tasks: The model's, by name.
        best: 'greater' or 'less' by the name of the metric, ``TASK/METRIC``.

    Returns:
        The tasks that are measured, by name.

    Raises:
        ValueError: A task is measured that the model does not have, or of another kind or number of channels; the best
            checkpoint is to be chosen by a metric that is not measured, or the worst one would be kept.
    """
    measured, better = {}, {}
    for metric in metrics:
        if isinstance(metric, MultiTaskMetric):
            measured.update({task.name: task for task in metric.tasks})
            better.update(metric.better)
    for name, task in measured.items():
        other = tasks.get(name)
        if other is None:
            raise ValueError(f'The metric is asked for {task}, which the model does not predict: it has '
                             f'{", ".join(map(str, tasks.values()))}. List the same tasks in model and evaluator.')
        if (type(other), other.channels) != (type(task), task.channels):
            raise ValueError(f'The metric is asked for {task} of {task.channels} channels, the model predicts {other} of '
                             f'{other.channels}. List the same tasks in model and evaluator.')
    complete = all(isinstance(metric, MultiTaskMetric) for metric in metrics)
    for name, rule in best.items():
        if name not in better and name != 'auto' and complete:
            raise ValueError(f'default_hooks.checkpoint.save_best={name!r}, but validation gives only {", ".join(better)}: '
                             'take one of them.')
        if name in better and RULES[better[name]] != rule:
            raise ValueError(f'default_hooks.checkpoint.rule={rule!r} for save_best={name!r}, of which {better[name]} is '
                             f'better: the worst checkpoint would be kept. Set rule={RULES[better[name]]!r}.')
    return measured
