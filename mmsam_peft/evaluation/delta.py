"""Delta_b: how much better several tasks are in one model than each in its own."""
import json
import math
from collections.abc import Sequence
from pathlib import Path

from ..tasks.base import Task

Scores = dict[str, dict[str, float]]
"""Values by task and metric."""


def delta_b(scores: Scores, baseline: Scores, tasks: Sequence[Task]) -> float:
    """Average relative gain over single-task models in percent, positive if better::

        Delta_b = 100 / T * sum_t 1 / M_t * sum_m s_m (N_tm - B_tm) / B_tm

    with N the scores, B the baseline, M_t the metrics of task t that the baseline lists, and s = 1 where higher is better, -1
    where lower is.
    """
    signs = {'higher': 1, 'lower': -1}
    gains = [[signs[task.better[metric]] * (scores[task.name][metric] - value) / value
              for metric, value in baseline[task.name].items()] for task in tasks]
    return 100 * sum(sum(gain) / len(gain) for gain in gains) / len(gains)


def load_baseline(path: str | Path, tasks: Sequence[Task]) -> Scores:
    """Reads ``{task: {metric: value}}``, scores of models trained for one task each, from a JSON file.

    It has to have been measured on the same images by the same protocol, and decides which metrics count: published tables
    often use fewer than there are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, its tasks are not those of ``tasks``, a metric is not one of its task, or a value is
            not a finite positive number.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'baseline={str(path)!r} does not exist: it is a JSON file of single-task results, '
                                '{"seg": {"mIoU": 50.0, ...}, ...}, to compare with.')
    try:
        baseline = json.loads(Path(path).read_text())
        found = {name: dict(metrics) for name, metrics in baseline.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'The baseline {path} is not JSON like {{"seg": {{"mIoU": 50.0, ...}}, ...}}: {error}') from error
    expected = {task.name: task for task in tasks}
    if found.keys() != expected.keys():
        raise ValueError(f'The baseline {path} has the tasks {sorted(found)}, expected those of the metric, '
                         f'{sorted(expected)}: Delta_b is a mean over all of them.')
    for name, metrics in found.items():
        if not metrics or not metrics.keys() <= expected[name].better.keys():
            raise ValueError(f'The baseline {path} has for {name!r} the metrics {sorted(metrics)}, expected one or more of '
                             f'{sorted(expected[name].better)}.')
        if wrong := {metric: value for metric, value in metrics.items() if not _positive(value)}:
            raise ValueError(f'The baseline {path} has for {name!r} {wrong}: gains are relative to positive numbers only; '
                             'leave a metric out that is zero or missing.')
    return found


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
