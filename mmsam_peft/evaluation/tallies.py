"""What a metric knows of each image, in a form that may be added up over images.

The numbers are those that the metrics themselves compute while they evaluate (``metric.results``):
no image is scored a second time. From the sums over all images follow the metric's own scores; from
those of one image, or of images drawn at random, the scores of these.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric

from ..tasks.base import build_tasks
from . import binary_metric, boundary_metric
from .binary_metric import BinaryMetric
from .boundary_metric import BoundaryMetric
from .multi_task_metric import MultiTaskMetric
from .per_set_metric import PerSetMetric
from .saliency_metric import SaliencyMetric
from .training_checks import IOU_METRICS

Numbers = dict[str, np.ndarray]


class Tally:
    """Adds up one metric, or one task of it.

    Args:
        prefix: What stands before the names of its scores, '' or 'TASK/'.
    """

    view = ''
    """The task whose prediction it scores; '' for the only one."""
    set_name = ''
    """The test set whose images it scores; '' for all."""
    better: Mapping[str, str] = {}
    """Whether 'higher' or 'lower' is better, by score, for those that it can give."""

    def __init__(self, prefix: str = '') -> None:
        self.prefix = prefix

    def settings(self) -> dict:
        """What ``build_tally`` makes the same one from, as plain JSON."""
        return dict(kind=type(self).__name__, prefix=self.prefix)

    def numbers(self, result: object) -> Numbers | None:
        """Of one entry of ``metric.results``; None for an image that takes no part."""
        raise NotImplementedError

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        """From the sums of ``numbers`` over so many images; NaN where not defined."""
        raise NotImplementedError

    def class_scores(self, sums: Numbers) -> np.ndarray | None:
        """IoU of each class in percent, (K,), where there are classes."""
        return None

    def named(self, scores: Mapping[str, float]) -> dict[str, float]:
        return {f'{self.prefix}{name}': value for name, value in scores.items()}


class BinaryTally(Tally):
    better = BinaryMetric.better

    def __init__(self, prefix: str = '', empty: str = 'one') -> None:
        super().__init__(prefix)
        self.empty = empty

    def settings(self) -> dict:
        return dict(super().settings(), empty=self.empty)

    def numbers(self, result: Sequence[int]) -> Numbers | None:
        if not result:
            return None
        return binary_metric.image_scores(np.array(result, np.float64), self.empty)

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        return self.named(binary_metric.scores_of_sums(sums, images))


class BoundaryTally(Tally):
    def __init__(self, num_classes: int, prefix: str = '') -> None:
        super().__init__(prefix)
        self.num_classes = num_classes
        self.better = dict.fromkeys(boundary_metric.names(num_classes), 'higher')

    def settings(self) -> dict:
        return dict(super().settings(), num_classes=self.num_classes)

    def numbers(self, result: Sequence[tuple[int, int]]) -> Numbers | None:
        return boundary_metric.image_scores(np.array(result, np.float64)) if result else None

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        return self.named(boundary_metric.scores_of_sums(sums, images))


class SaliencyTally(Tally):
    """Without the maxima of the set's mean curves: they would need every image's curves."""

    better = {name: how for name, how in SaliencyMetric.better.items() if not name.endswith('_max')}

    def numbers(self, result: Mapping[str, np.ndarray]) -> Numbers | None:
        if not result:
            return None
        curves = {f'{name}_mean': np.mean(result[f'{name}_curve']) for name in 'EF'}
        plain = {name: result[name] for name in self.better if name in result}
        return {name: np.asarray(value, np.float64) for name, value in (plain | curves).items()}

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        return self.named(
            {
                name: (1 if name == 'MAE' else 100) * float(sums[name]) / images
                for name in self.better
            }
        )


class ClassTally(Tally):
    """MMSegmentation's ``IoUMetric``, which rounds to two digits what is exact here."""

    def __init__(self, metrics: Sequence[str], beta: int = 1, prefix: str = '') -> None:
        super().__init__(prefix)
        self.metrics, self.beta = list(metrics), beta
        names = [result for name in self.metrics for result in IOU_METRICS[name]]
        self.better = dict.fromkeys([*names, 'aAcc'], 'higher')

    def settings(self) -> dict:
        return dict(super().settings(), metrics=self.metrics, beta=self.beta)

    def numbers(self, result: Sequence[torch.Tensor]) -> Numbers | None:
        right, _, predicted, labelled = (one.cpu().double().numpy() for one in result)
        if not labelled.any():
            return None
        return dict(right=right, predicted=predicted, labelled=labelled)

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        right, predicted, labelled = (
            torch.from_numpy(np.array(sums[name])) for name in ('right', 'predicted', 'labelled')
        )
        union = predicted + labelled - right
        with np.errstate(invalid='ignore'):
            found = IoUMetric.total_area_to_metrics(
                right, union, predicted, labelled, self.metrics, None, self.beta
            )
            return self.named(
                {
                    name if name == 'aAcc' else f'm{name}': 100 * float(_mean(value))
                    for name, value in found.items()
                }
            )

    def class_scores(self, sums: Numbers) -> np.ndarray:
        return class_iou(sums)


class TaskTally(Tally):
    """One task of ``MultiTaskMetric``.

    Args:
        task: Its config.
    """

    def __init__(self, task: dict, prefix: str = '') -> None:
        super().__init__(prefix)
        self.config, self.task = dict(task), build_tasks([task])[0]
        self.view, self.better = self.task.name, self.task.better

    def settings(self) -> dict:
        return dict(super().settings(), task=self.config)

    def numbers(self, result: Mapping[str, Numbers]) -> Numbers | None:
        counted = result.get(self.view)
        if counted is None or not counted['pixels']:
            return None
        if self.task.protocol == 'per_image':
            counted = counted | {
                f'score {name}': value for name, value in self.task.scores(counted).items()
            }
        return {name: np.asarray(value) for name, value in counted.items()}

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        if self.task.protocol == 'per_image':
            found = {name: sums[f'score {name}'] / images for name in self.better}
        else:
            with np.errstate(invalid='ignore', divide='ignore'):
                found = self.task.scores(sums)
        return self.named({name: float(np.max(found[name])) for name in self.better})

    def class_scores(self, sums: Numbers) -> np.ndarray | None:
        return class_iou(sums) if {'right', 'labelled'} <= sums.keys() else None


class SetTally(Tally):
    """One metric of ``PerSetMetric``, for one of its test sets.

    Args:
        set_name: The set's.
        number: The metric's, among those of the set.
        of: The metric's own tally, or its settings.
    """

    def __init__(self, set_name: str, number: int, of: Tally | Mapping, prefix: str = '') -> None:
        super().__init__(prefix)
        self.set_name, self.number = set_name, number
        self.of = of if isinstance(of, Tally) else build_tally(of)
        self.view = self.of.view
        self.better = {f'{self.of.prefix}{score}': how for score, how in self.of.better.items()}

    def settings(self) -> dict:
        inner = self.of.settings()
        return dict(super().settings(), set_name=self.set_name, number=self.number, of=inner)

    def numbers(self, result: tuple[str, Sequence[Sequence]]) -> Numbers | None:
        name, found = result
        if name != self.set_name or not found[self.number]:
            return None
        return self.of.numbers(found[self.number][0])

    def scores(self, sums: Numbers, images: float) -> dict[str, float]:
        return self.named(self.of.scores(sums, images))

    def class_scores(self, sums: Numbers) -> np.ndarray | None:
        return self.of.class_scores(sums)


KINDS = {
    one.__name__: one
    for one in (BinaryTally, BoundaryTally, SaliencyTally, ClassTally, TaskTally, SetTally)
}


def tallies_of(metric: BaseMetric) -> list[Tally]:
    """Those of a metric that keeps one result for each image; none of one that is not known."""
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    if isinstance(metric, BinaryMetric):
        return [BinaryTally(prefix, metric.empty)]
    if isinstance(metric, BoundaryMetric):
        return [BoundaryTally(metric.num_classes, prefix)]
    if isinstance(metric, SaliencyMetric):
        return [SaliencyTally(prefix)]
    if isinstance(metric, MultiTaskMetric):
        return [
            TaskTally(config, f'{prefix}{task.name}/')
            for config, task in zip(metric.task_configs, metric.tasks, strict=True)
        ]
    if isinstance(metric, PerSetMetric):
        return [
            SetTally(name, number, tally, f'{name}/')
            for name in (metric.dataset_meta or {}).get('sets') or {}
            for number, one in enumerate(metric.metrics)
            for tally in tallies_of(one)
        ]
    if isinstance(metric, IoUMetric) and not metric.format_only:
        asked = [metric.metrics] if isinstance(metric.metrics, str) else metric.metrics
        return [ClassTally(asked, metric.beta, prefix)]
    return []


def build_tally(settings: Mapping) -> Tally:
    """The tally with these ``settings()``."""
    arguments = dict(settings)
    return KINDS[arguments.pop('kind')](**arguments)


def class_iou(sums: Numbers) -> np.ndarray:
    """In percent, (K,); NaN for a class that is neither labelled nor predicted."""
    right = np.asarray(sums['right'])
    union = sums['labelled'] + sums['predicted'] - right
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * right / union


def _mean(values: np.ndarray) -> float:
    """Over those that are defined."""
    known = np.asarray(values)[np.isfinite(values)]
    return known.mean() if known.size else np.nan
