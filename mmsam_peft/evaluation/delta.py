"""Delta_b: how much better several tasks are in one model than each in its own."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..tasks.base import Task

Scores = dict[str, dict[str, float]]
"""Values by task and metric."""


def delta_b(scores: Scores, baseline: Scores, tasks: Sequence[Task]) -> float:
    """Average relative gain over single-task models in percent, positive if better::

        Delta_b = 100 / T * sum_t 1 / M_t * sum_m s_m (N_tm - B_tm) / B_tm

    with N the scores, B the baseline, M_t the metrics of task t that the baseline lists, and s = 1
    where higher is better, -1 where lower is.
    """
    signs = {'higher': 1, 'lower': -1}
    gains = [
        [
            signs[task.better[metric]] * (scores[task.name][metric] - value) / value
            for metric, value in baseline[task.name].items()
        ]
        for task in tasks
    ]
    return 100 * sum(sum(gain) / len(gain) for gain in gains) / len(gains)


def load_baseline(path: str | Path, tasks: Sequence[Task]) -> Scores:
    """Reads ``{task: {metric: value}}``, scores of models trained for one task each, from a JSON
    file.

    It has to have been measured on the same images by the same protocol, and decides which metrics
    count: published tables often use fewer than there are. :func:`collect_baseline` makes one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, its tasks are not those of ``tasks``, a metric is not one of
            its task, or a value is not a finite positive number.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'baseline={str(path)!r} does not exist: it is a JSON file of single-task results, '
            '{"seg": {"mIoU": 50.0, ...}, ...}, to compare with; '
            'tools/analysis_tools/single_task_baseline.py makes one.'
        )
    try:
        baseline = {
            name: dict(metrics) for name, metrics in json.loads(Path(path).read_text()).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'The baseline {path} is not JSON like {{"seg": {{"mIoU": 50.0, ...}}, ...}}: {error}'
        ) from error
    check_baseline(baseline, tasks, f'The baseline {path}')
    return baseline


def collect_baseline(
    results: Mapping[str, Mapping[str, float]],
    tasks: Sequence[Task],
    metrics: Sequence[str] | None = None,
) -> Scores:
    """A baseline from the results of single-task runs.

    Args:
        results: For each run, by the name that errors give it, its ``{'TASK/METRIC': value}``; what
            is not of ``tasks`` is left out.
        tasks: Every one has to be in one run, and no more than one.
        metrics: Those that count, as ``TASK/METRIC``; by default all that the tasks have.

    Raises:
        ValueError: Two runs have the same task, a run has none; a metric is unknown, missing, or no
            finite positive number.
    """
    known = [f'{task.name}/{metric}' for task in tasks for metric in task.better]
    if unknown := [name for name in metrics or () if name not in known]:
        raise ValueError(
            f'got the metrics {" ".join(unknown)}, expected some of {" ".join(known)}.'
        )
    sources, found = {}, {}
    for run, scores in results.items():
        own = {name: value for name, value in scores.items() if name in known}
        if not own:
            raise ValueError(
                f'{run} has {", ".join(scores) or "nothing"}, expected results of one of the tasks '
                f'{", ".join(task.name for task in tasks)}: leave it out, or use the config it '
                'belongs to.'
            )
        for task in dict.fromkeys(name.split('/')[0] for name in own):
            if sources.setdefault(task, run) != run:
                raise ValueError(
                    f'{sources[task]} and {run} both have results of the task {task!r}: give one '
                    'of them only.'
                )
        found |= own
    counting = [name for name in known if name in (metrics or known)]
    if missing := [name for name in counting if name not in found]:
        raise ValueError(
            f'{", ".join(results) or "Nothing"} lacks {" ".join(missing)}: add the results of the '
            'tasks that '
            'are missing, or name the metrics that count.'
        )
    baseline = {
        task.name: {
            metric: found[f'{task.name}/{metric}']
            for metric in task.better
            if f'{task.name}/{metric}' in counting
        }
        for task in tasks
    }
    check_baseline(baseline, tasks, ', '.join(results))
    return baseline


def check_baseline(baseline: Scores, tasks: Sequence[Task], source: str) -> None:
    """Raises ValueError, beginning with ``source``, unless every task has some of its metrics, and
    all are positive numbers."""
    expected = {task.name: task for task in tasks}
    if baseline.keys() != expected.keys():
        raise ValueError(
            f'{source} has the tasks {sorted(baseline)}, expected those of the metric, '
            f'{sorted(expected)}: '
            'Delta_b is a mean over all of them.'
        )
    for name, metrics in baseline.items():
        if not metrics or not metrics.keys() <= expected[name].better.keys():
            raise ValueError(
                f'{source} has for {name!r} the metrics {sorted(metrics)}, expected one or more of '
                f'{sorted(expected[name].better)}.'
            )
        if wrong := {metric: value for metric, value in metrics.items() if not _positive(value)}:
            raise ValueError(
                f'{source} has for {name!r} {wrong}: gains are relative to positive numbers only; '
                'leave a metric out that is zero or missing.'
            )


def read_scores(path: str | Path) -> dict[str, float]:
    """The metrics of a run, from the JSON file that ``tools/test.py`` leaves beside its log, or a
    ``result.json`` of ``compare_peft.py``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'There is no file {path}; tools/test.py writes WORK_DIR/TIME/TIME.json.'
        )
    try:
        content = json.loads(Path(path).read_text())
        scores = dict(content.get('scores', content))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} holds no results: {error}. Expected the JSON file that tools/test.py leaves '
            'beside its log, '
            'or a result.json of compare_peft.py.'
        ) from error
    return {name: value for name, value in scores.items() if name not in ('time', 'data_time')}


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
