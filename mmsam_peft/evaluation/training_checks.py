"""What training asks of its validation, looked at before it begins."""

from collections.abc import Mapping, Sequence

from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmseg.evaluation import IoUMetric

from ..tasks.base import Task
from .binary_metric import BinaryMetric
from .boundary_metric import BoundaryMetric
from .multi_task_metric import MultiTaskMetric
from .saliency_metric import SaliencyMetric

RULES = dict(higher='greater', lower='less')
"""MMEngine's words for what is better."""
IOU_METRICS = dict(
    mIoU=('mIoU', 'mAcc'), mDice=('mDice', 'mAcc'), mFscore=('mFscore', 'mPrecision', 'mRecall')
)
"""What IoUMetric gives besides aAcc, by what it is asked for."""


def check_metrics(
    metrics: Sequence[BaseMetric], tasks: Mapping[str, Task], best: Mapping[str, str]
) -> dict[str, Task]:
    """Compares the metrics of an evaluator with a multi-task model and with what the best
    checkpoint is chosen by.

    Args:
        metrics: The evaluator's.
        tasks: The model's, by name.
        best: 'greater' or 'less' by the name of the metric, ``TASK/METRIC``.

    Returns:
        The tasks that are measured, by name.

    Raises:
        ValueError: A task is measured that the model does not have, or of another kind or number of
            channels; or as ``check_best``.
    """
    measured = {
        task.name: task
        for metric in metrics
        if isinstance(metric, MultiTaskMetric)
        for task in metric.tasks
    }
    for name, task in measured.items():
        other = tasks.get(name)
        if other is None:
            raise ValueError(
                f'The metric is asked for {task}, which the model does not predict: '
                'it has '
                f'{", ".join(map(str, tasks.values()))}. List the same tasks in model '
                'and evaluator.'
            )
        if (type(other), other.channels) != (type(task), task.channels):
            raise ValueError(
                f'The metric is asked for {task} of {task.channels} channels, the '
                f'model predicts {other} of '
                f'{other.channels}. List the same tasks in model and evaluator.'
            )
    check_best(metrics, best)
    return measured


def check_binary_metrics(metrics: Sequence[BaseMetric], num_classes: int) -> None:
    """Raises ValueError where a metric of two classes would score a model of more, or one of a
    class that there is not, or of another number of classes."""
    for metric in metrics:
        name = type(metric).__name__
        two_classes = (
            isinstance(metric, SaliencyMetric)
            or isinstance(metric, BinaryMetric)
            and metric.foreground is None
        )
        if two_classes and num_classes > 2:
            raise ValueError(
                f'{name} scores one object against the background, but the model has '
                f'{num_classes} classes: use '
                "dict(type='IoUMetric', iou_metrics=['mIoU']), or, for one class "
                'against all others, '
                "dict(type='BinaryMetric', foreground=NUMBER)."
            )
        if isinstance(metric, BinaryMetric) and not 0 <= metric.scored < max(num_classes, 2):
            raise ValueError(
                f'{name} has foreground={metric.foreground}, but the model has the '
                'classes 0 to '
                f'{num_classes - 1}.'
            )
        if isinstance(metric, BoundaryMetric) and metric.num_classes != max(num_classes, 2):
            raise ValueError(
                f'{name} has num_classes={metric.num_classes}, but the model has {num_classes}: '
                'set them to the same number.'
            )


def check_best(metrics: Sequence[BaseMetric], best: Mapping[str, str | None]) -> None:
    """Compares what the best checkpoint is chosen by with what the metrics of an evaluator give.

    Args:
        metrics: The evaluator's. Of ours and of MMSegmentation's ``IoUMetric`` is known what they
            give.
        best: 'greater' or 'less' by the name of the metric; 'auto' is the first of all.

    Raises:
        ValueError: That metric is not measured, or the worst checkpoint would be kept.
    """
    known = [better_of(metric) for metric in metrics]
    better = {name: how for one in known if one for name, how in one.items()}
    for name, rule in best.items():
        setting = f'default_hooks.checkpoint.save_best={name!r}'
        if name == 'auto':
            if not known or not known[0]:
                continue
            name = next(iter(known[0]))
            setting += f', which takes {name!r}'
            if rule is None:
                rule = inferred_rule(name)
        elif name not in better:
            if None not in known:
                raise ValueError(
                    f'{setting}, but validation gives only {", ".join(better)}: use one of them.'
                )
            continue
        expected = RULES[better[name]]
        if rule is None:
            raise ValueError(
                f'{setting}, of which MMEngine does not know whether higher is '
                f'better: set save_best={name!r} and '
                f'rule={expected!r}.'
            )
        if rule != expected:
            raise ValueError(
                f'default_hooks.checkpoint.rule={rule!r} for '
                f'{setting.removeprefix("default_hooks.checkpoint.")}, '
                f'of which {better[name]} is better: the worst checkpoint would be '
                f'kept. Set rule={expected!r}.'
            )


def better_of(metric: BaseMetric) -> dict[str, str] | None:
    """Whether 'higher' or 'lower' is better, by the name of each result; None where that is not
    known.

    Raises:
        ValueError: An ``IoUMetric`` is asked for what it does not have.
    """
    if isinstance(metric, MultiTaskMetric):
        return metric.better
    if isinstance(metric, IoUMetric):
        names = _iou_results(metric)
    elif isinstance(metric, BinaryMetric | BoundaryMetric | SaliencyMetric):
        names = metric.better
    else:
        return None
    return {
        f'{metric.prefix}/{name}' if metric.prefix else name: how for name, how in names.items()
    }


def _iou_results(metric: IoUMetric) -> dict[str, str]:
    if metric.format_only:
        return {}
    asked = [metric.metrics] if isinstance(metric.metrics, str) else metric.metrics
    if unknown := [name for name in asked if name not in IOU_METRICS]:
        raise ValueError(
            f'IoUMetric has iou_metrics={list(asked)}, and no {", ".join(unknown)}: '
            f'it knows {", ".join(IOU_METRICS)}.'
        )
    return dict.fromkeys(
        ['aAcc', *(result for name in asked for result in IOU_METRICS[name])], 'higher'
    )


def inferred_rule(name: str) -> str | None:
    """What MMEngine takes for better where nothing is said."""
    try:
        return CheckpointHook(save_best=name).rules[0]
    except ValueError:
        return None
