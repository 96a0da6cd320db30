from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..registry import METRICS
from ..tasks.base import Task, added, build_tasks
from .delta import delta_b, load_baseline


@METRICS.register_module()
class MultiTaskMetric(BaseMetric):
    """The metrics of several dense tasks, each by the definitions and the protocol of its kind, as
    ``TASK/METRIC``.

    Where a task has classes, ``TASK/IoU/CLASS`` is the IoU of each that occurs, from sums over all
    images.

    An image that lacks a task's label, or has no valid pixel of it, takes no part in that task.
    With a baseline there is also ``Delta_b/FILE``, the average gain in percent over the single-task
    results of that file (see ``delta.py``).

    Args:
        tasks: Configs of the tasks, as the model and the data set have them.
        baseline: JSON file ``{task: {metric: value}}``; its metrics are those that count in
            Delta_b.

    Raises:
        ValueError: at construction, if the tasks or the baseline make no sense; in evaluation, if a
            task is not predicted, has no label anywhere, or label and prediction disagree in shape,
            or the prediction is not finite.
    """

    default_prefix = ''

    def __init__(
        self,
        tasks: Sequence[dict],
        baseline: str | Path | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.tasks, self.baseline = build_tasks(tasks), baseline
        self.task_configs = [dict(task) for task in tasks]
        self.expected = None if baseline is None else load_baseline(baseline, self.tasks)

    @property
    def better(self) -> dict[str, str]:
        """Whether 'higher' or 'lower' is better, by the name of each result."""
        named = {
            f'{task.name}/{metric}': how
            for task in self.tasks
            for metric, how in task.better.items()
        }
        named |= {self._delta: 'higher'} if self.expected else {}
        return {
            f'{self.prefix}/{name}' if self.prefix else name: how for name, how in named.items()
        }

    @property
    def _delta(self) -> str:
        return f'Delta_b/{Path(self.baseline).stem}'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            self.results.append(
                {
                    task.name: task.measure(*_maps(task, sample))
                    for task in self.tasks
                    if f'gt_{task.name}' in sample
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        scores = {}
        for task in self.tasks:
            measured = [result[task.name] for result in results if task.name in result]
            if not measured:
                raise ValueError(
                    f'{task} has no label in any of the {len(results)} evaluated images: check '
                    'that the data set '
                    'loads it, or remove the task from the metric.'
                )
            scores[task.name] = task.summarise(measured, task.protocol)
        named = {
            f'{name}/{metric}': value
            for name, metrics in scores.items()
            for metric, value in metrics.items()
        }
        for task in self.tasks:
            whole = added([result[task.name] for result in results if task.name in result])
            each = task.class_scores(whole)
            named |= {f'{task.name}/{name}': value for name, value in each.items()}
        if self.expected:
            named[self._delta] = delta_b(scores, self.expected, self.tasks)
            counted = '; '.join(
                f'{name} {", ".join(metrics)}' for name, metrics in self.expected.items()
            )
            print_log(f'Delta_b is against {self.baseline}, over {counted}.', 'current')
        return named


def _maps(task: Task, sample: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prediction and label (c, H, W) and validity (1, H, W)."""
    label, predicted = sample[f'gt_{task.name}'], sample.get(f'pred_{task.name}')
    where = f'{task}, image {sample.get("img_path", "without a path")}'
    if predicted is None:
        there = sorted(key.removeprefix('pred_') for key in sample if key.startswith('pred_'))
        raise ValueError(
            f'{where}: the model does not predict this task, only {there}. Metric and model need '
            'the same tasks.'
        )
    prediction, label, valid = (
        value.cpu().numpy() for value in (predicted['data'], label['data'], label['valid'])
    )
    expected = (task.label_channels, *valid.shape[1:])
    if prediction.shape != expected or label.shape != expected:
        raise ValueError(
            f'{where}: prediction {prediction.shape}, label {label.shape} and validity '
            f'{valid.shape} do not fit, '
            f'expected {expected}: label files have the size of the image, and are not resized for '
            'testing.'
        )
    if not np.isfinite(prediction[:, valid[0]]).all():
        raise ValueError(
            f'{where}: the prediction is not finite (NaN or infinite): training has diverged, or '
            'half precision '
            'overflows; lower the learning rate, or use bfloat16.'
        )
    return prediction, label, valid
