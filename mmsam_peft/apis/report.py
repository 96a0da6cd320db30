"""Table and plot of a comparison."""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .compare import Run, main_score

Results = dict[str, list[dict]]
"""For each method, in the order asked, what result.json says of each seed."""
PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
"""Where a name may stand: the directions from its marker."""


def write_report(runs: Sequence[Run], work_dir: Path) -> str:
    """Writes table.md and, where there is a result, plot.png; returns the table."""
    results = {run.method: [] for run in runs}
    for run in runs:
        if run.result.exists():
            results[run.method].append(json.loads(run.result.read_text()))
    text = table(results)
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / 'table.md').write_text(text)
    if any(results.values()):
        plot(results, work_dir / 'plot.png')
    return text


def table(results: Results) -> str:
    """A Markdown table, a row for each method: mean and standard deviation over seeds."""
    scores = list(dict.fromkeys(name for rows in results.values() for row in rows for name in row['scores']))
    head = ['method', 'n', *scores, 'trained parameters', 'file, MB', 'iterations/s', 'peak memory, MB']
    lines = [f'| {" | ".join(head)} |', '|---|' + '---:|' * (len(head) - 1)]
    for method, rows in results.items():
        cells = [_cell([row['scores'].get(name) for row in rows]) for name in scores]
        cells += [f'{rows[0]["trained_parameters"]["total"]:,}' if rows else '-',
                  _cell([row['adapter_bytes'] / 1e6 for row in rows], spread=False),
                  _cell([row['iterations_per_second'] for row in rows], spread=False),
                  _cell([row['peak_memory_bytes'] / 1e6 for row in rows], digits=0, spread=False)]
        lines.append(f'| {" | ".join([f"`{method}`", str(len(rows)), *cells])} |')
    everything = [row for rows in results.values() for row in rows]
    notes = ['n: seeds. ± is the standard deviation over them (n - 1).']
    kinds = sorted({row['memory_kind'] for row in everything})
    notes += [f'Memory: {" / ".join(kinds)}.'] if kinds else []
    notes += ['Some were trained several at a time: their iterations/s are of a shared machine.'] \
        if any(row['shared'] for row in everything) else []
    return '\n'.join([*lines, '', ' '.join(notes), ''])


def plot(results: Results, path: Path) -> None:
    """Score against trained parameters, a marker for each method with its name beside it."""
    everything = [row for rows in results.values() for row in rows]
    metric = main_score(everything[0])
    points = {method: (rows[0]['trained_parameters']['total'], mean_and_deviation([row['scores'][metric] for row in rows]))
              for method, rows in results.items() if rows and metric in rows[0]['scores']}
    figure = Figure(figsize=(9, 6), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for count, (mean, deviation) in points.values():
        axes.errorbar(count, mean, yerr=deviation, fmt='o', capsize=3)
    axes.set_xscale('log')
    axes.margins(x=0.15, y=0.1)
    axes.set_xlabel('trained parameters')
    axes.set_ylabel(f'{metric} on the test set')
    axes.grid(alpha=0.3)
    name_points(axes, {method: (count, mean) for method, (count, (mean, _)) in points.items()})
    figure.savefig(path)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1); None for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def name_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Writes each name beside its point, where it overlaps least with what is there."""
    for name, point in points.items():
        axes.annotate(name, point, (6, 6), textcoords='offset points', fontsize=8)


def _cell(values: Sequence[float | None], digits: int = 2, spread: bool = True) -> str:
    if not values or None in values:
        return '-'
    mean, deviation = mean_and_deviation(values)
    return f'{mean:.{digits}f}' + (f' ± {deviation:.{digits}f}' if spread and deviation is not None else '')
