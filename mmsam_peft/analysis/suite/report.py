"""Table and plot of a comparison."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox

from .run import Run
from .trial import main_score

Results = dict[str, list[dict]]
"""For each method, in the order asked, what result.json says of each seed."""
DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)]
"""Where a name may stand, seen from its marker; the first ones are preferred."""
DISTANCES = (8, 14, 22, 32, 45, 60, 80)
"""How far from it, in points."""

COLOURS = [colormaps['tab20'](i)[:3] for i in (*range(0, 20, 2), *range(1, 20, 2))]


def write_report(runs: Sequence[Run], work_dir: Path, title: str) -> str:
    """Writes table.md and, where there is a result, plot.png; returns the table."""
    results = {run.method: [] for run in runs}
    for run in runs:
        if run.result.exists():
            results[run.method].append(json.loads(run.result.read_text()))
    text = table(results)
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / 'table.md').write_text(text)
    if any(results.values()):
        plot(results, work_dir / 'plot.png', title)
    return text


def table(results: Results) -> str:
    """A Markdown table, a row for each method: means over seeds, of scores with the standard
    deviation."""
    everything = [row for rows in results.values() for row in rows]
    scores = list(dict.fromkeys(name for row in everything for name in row['scores']))
    fine = {
        name for name in scores if all(abs(row['scores'].get(name, 0)) <= 1 for row in everything)
    }
    head = [
        'method',
        'n',
        *scores,
        'trained parameters',
        'file, MB',
        'iterations/s',
        'peak memory, MB',
    ]
    lines = [f'| {" | ".join(head)} |', '|---|' + '---:|' * (len(head) - 1)]
    for method, rows in results.items():
        cells = [f'`{method}`', str(len(rows))]
        cells += [
            _cell(
                [row['scores'].get(name) for row in rows],
                4 if name in fine else 2,
                with_deviation=True,
            )
            for name in scores
        ]
        cells += [
            f'{rows[0]["trained_parameters"]["total"]:,}' if rows else '-',
            _cell([row['adapter_bytes'] for row in rows], 2, scale=1e-6),
            _cell([row['iterations_per_second'] for row in rows], 2),
            _cell([row['peak_memory_bytes'] for row in rows], 0, scale=1e-6),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    notes = ['n: seeds; ± is the standard deviation over them (n - 1).']
    notes += [
        f'Peak memory: {kind}.'
        for kind in (
            {'GPU': 'allocated on the GPU', 'resident': 'resident size of the training process'}[
                name
            ]
            for name in dict.fromkeys(row['memory_kind'] for row in everything)
        )
    ]
    if any(row['shared'] for row in everything):
        notes.append('Several trainings ran at a time: iterations/s are those of a shared machine.')
    return '\n'.join([*lines, '', ' '.join(notes), ''])


def plot(results: Results, path: Path, title: str) -> None:
    """Score against trained parameters, less those of the smallest run, which mostly are the head
    that all runs train: a marker for each method with its name beside it, error bars over seeds."""
    first = next(row for rows in results.values() for row in rows)
    metric = main_score(first)
    found = {
        method: rows for method, rows in results.items() if rows and metric in rows[0]['scores']
    }
    totals = [rows[0]['trained_parameters']['total'] for rows in found.values()]
    counts = [total - min(totals) for total in totals]
    values = [[row['scores'][metric] for row in rows] for rows in found.values()]
    means, deviations = zip(*map(mean_and_deviation, values), strict=True)
    figure = Figure(figsize=(9, 6), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale('symlog', linthresh=max(1, min(filter(None, counts), default=1)), linscale=0.5)
    axes.margins(x=0.12, y=0.08)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(found))]
    for count, mean, deviation, colour in zip(counts, means, deviations, colours, strict=True):
        axes.errorbar(
            count,
            mean,
            yerr=deviation,
            fmt='o',
            markersize=6,
            capsize=3,
            elinewidth=1,
            color=colour,
        )
    decades = [
        0,
        *(
            10**power
            for power in range(10)
            if min(filter(None, counts), default=1) <= 10**power <= max(counts)
        ),
    ]
    axes.set_xticks(decades)
    axes.xaxis.set_major_formatter(EngFormatter(sep=' '))
    axes.set_xlabel(f'trained parameters beyond {min(totals):,} (log scale, 0 at the left)')
    errors = metric == first['metric'] and first.get('rule') == 'less'
    unit = ' (lower is better)' if errors else ' (%)' if max(map(abs, means)) > 1 else ''
    axes.set_ylabel(f'{metric} on the test set{unit}')
    seeds = sorted({len(rows) for rows in found.values()})
    axes.set_title(
        f'{title}: {metric} and trained parameters\n'
        + (
            f'mean and standard deviation over {"-".join(map(str, seeds))} seeds'
            if seeds != [1]
            else 'one seed'
        )
    )
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    name_points(
        axes, list(found), colours, counts, means, [deviation or 0 for deviation in deviations]
    )
    figure.savefig(path)


def name_points(
    axes: Axes,
    names: Sequence[str],
    colours: Sequence[tuple[float, float, float]],
    x: Sequence[float],
    y: Sequence[float],
    deviations: Sequence[float],
) -> None:
    """Writes each name beside its point, where it covers least of what is there and as near as that
    allows."""
    axes.figure.draw_without_rendering()
    renderer, unit = (
        axes.figure.canvas.get_renderer(),
        axes.figure.dpi / 72,
    )  # pixels of a typographic point
    centres, ends = (
        axes.transData.transform(np.column_stack([x, np.add(y, d)]))
        for d in (0, np.array(deviations))
    )
    reach = np.column_stack([np.full(len(names), 5 * unit), (ends - centres)[:, 1] + 5 * unit])
    taken = [
        Bbox([centre - half, centre + half]) for centre, half in zip(centres, reach, strict=True)
    ]
    for name, colour, point, centre in zip(
        names, colours, zip(x, y, strict=True), centres, strict=True
    ):
        dark = 0.6 * np.array(colour)
        text = axes.annotate(
            name, point, (0, 0), textcoords='offset points', fontsize=8, color=dark
        )
        size = np.array(text.get_window_extent(renderer).size)
        costs = {}
        for distance, direction in itertools.product(DISTANCES, DIRECTIONS):
            corner = (
                centre + distance * unit * np.array(direction) + size * (np.sign(direction) - 1) / 2
            )
            box = Bbox([corner, corner + size])
            outside = size.prod() - _overlap(box, axes.bbox)
            costs[box, distance] = (
                round(sum(_overlap(box, other) for other in taken) + outside) + distance * unit
            )
        box, distance = min(costs, key=costs.get)
        text.set_position((box.min - centre) / unit)
        taken.append(box)
        if distance > DISTANCES[0]:
            edge = (centre.clip(box.min, box.max) - centre) / unit
            line = dict(arrowstyle='-', color=dark, linewidth=0.5)
            axes.annotate('', point, edge, textcoords='offset points', arrowprops=line)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1); None for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _cell(
    values: Sequence[float | None], digits: int, scale: float = 1, with_deviation: bool = False
) -> str:
    if not values or None in values:
        return '-'
    mean, deviation = mean_and_deviation([scale * value for value in values])
    return f'{mean:.{digits}f}' + (
        f' ± {deviation:.{digits}f}' if with_deviation and deviation is not None else ''
    )


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return common.width * common.height if common else 0
