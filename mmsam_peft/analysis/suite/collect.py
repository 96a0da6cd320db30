"""What a suite found, as tables, pictures and one page."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ...whole_files import write_whole
from .published import PAPER, published, published_score
from .report import mean_and_deviation
from .results import Chosen, Trained, choose, read_results
from .significance import Difference, bootstrap, holm, paired
from .sweep_plot import plot_sweep
from .tables import Table

LEVEL = 0.05


def collect(work_dir: Path, metrics: Sequence[str] = (), reference: str | None = None) -> str:
    """Writes report.md, the tables as .csv and .tex, and sweep.png; returns the page.

    Args:
        metrics: Columns of the scores beside each data set's main one; by default those with
            published values.
        reference: A method from which the differences of the others are listed with intervals.

    Raises:
        FileNotFoundError, ValueError: See :func:`read_results` and :func:`choose`.
    """
    chosen = choose(read_results(work_dir))
    tables = dict(scores=scores_table(chosen, metrics))
    by_data: dict[str, list[Chosen]] = {}
    for one in chosen:
        by_data.setdefault(one.best.key[0], []).append(one)
    for data, of_data in by_data.items():
        suffix = f'_{data}' if data else ''
        if any(len(one.sweep) > 1 for one in of_data):
            tables[f'sweep{suffix}'] = sweep_table(data, of_data)
        if len(of_data) > 1:
            ranked = rank(of_data)
            found = compare(ranked)
            if found:
                tables[f'order{suffix}'] = order_table(data, ranked, found)
                tables[f'pairs{suffix}'] = pairs_table(data, ranked, found, reference)
    for name, table in tables.items():
        write_whole(work_dir / f'{name}.csv', table.csv().encode())
        write_whole(work_dir / f'{name}.tex', table.latex().encode())
    if any(len(one.sweep) > 1 for one in chosen):
        plot_sweep(chosen, work_dir / 'sweep.png')
    page = '\n'.join(table.markdown() for table in tables.values())
    write_whole(work_dir / 'report.md', page.encode())
    return page


def scores_table(chosen: Sequence[Chosen], metrics: Sequence[str] = ()) -> Table:
    """A row for each method, a column for each metric of each data set; the published values in a
    row below."""
    columns = []
    for one in chosen:
        data = one.best.key[0]
        wanted = (one.best.metric, *(metrics or published().get(data, ())))
        there = next(iter(one.best.results.values()))['scores']
        columns += [(data, metric) for metric in wanted if metric in there]
    columns = sorted(dict.fromkeys(columns), key=lambda column: column[0])
    by_key = {one.best.key: one.best for one in chosen}
    rows = []
    for _, method, arch in dict.fromkeys((None, *key[1:]) for key in by_key):
        of_method = [by_key.get((data, method, arch)) for data, _ in columns]
        first = next(found for found in of_method if found)
        seeds = sorted({len(found.results) for found in of_method if found})
        cells = [
            _score(found, metric) for found, (_, metric) in zip(of_method, columns, strict=True)
        ]
        rows.append(
            [first.name, '-'.join(map(str, seeds)), f'{first.trained_parameters:,}', *cells]
        )
        theirs = [published_score(data, metric, method) for data, metric in columns]
        if any(theirs):
            cells = ['-' if value is None else _plus_minus(*value) for value in theirs]
            rows.append([f'† {method}, published', '', '', *cells])
    note = (
        'Mean over the seeds, ± standard deviation (n - 1), on the test set, at the learning rate '
        'with the best validation score.'
    )
    if any(row[0].startswith('†') for row in rows):
        note += f' †: published, not measured here: {PAPER}.'
    head = ['method', 'seeds', 'trained parameters', *(' '.join(column) for column in columns)]
    return Table('Scores', head, rows, note)


def sweep_table(data: str, chosen: Sequence[Chosen]) -> Table:
    """Validation and test score of each method at each rate."""
    rates = sorted({one.lr for method in chosen for one in method.sweep})
    rows = []
    for method in chosen:
        by_rate = {one.lr: one for one in method.sweep}
        cells = []
        for rate in rates:
            one = by_rate.get(rate)
            if one is None:
                cells.append('-')
                continue
            validation, test = one.validation(), one.scores(one.metric)
            shown = '-' if validation is None else f'{validation:.2f}'
            mark = ' *' if one is method.best else ''
            few = f' ({len(test)} seeds)' if len(test) < len(method.best.results) else ''
            cells.append(f'{shown} / {np.mean(test):.2f}{few}{mark}')
        alone = len(method.sweep) == 1 and len(rates) > 1
        rows.append([method.best.name, *cells, 'one rate only' if alone else method.note])
    return Table(
        f'Learning rates{f" on {data}" if data else ""}: {chosen[0].best.metric}, '
        'validation / test',
        ['method', *(f'{rate:g}' for rate in rates), ''],
        rows,
        '*: chosen, by validation alone. Means over the seeds.',
    )


def rank(chosen: Sequence[Chosen]) -> list[Trained]:
    """The methods of a data set, best first."""
    best = [one.best for one in chosen]
    sign = 1 if best[0].lower_is_better else -1
    return sorted(best, key=lambda one: sign * float(np.mean(one.scores(one.metric))))


def compare(ranked: Sequence[Trained]) -> dict[tuple[int, int], tuple[Difference, float]]:
    """For each pair of a ranking, by their places: the difference, and its p-value adjusted for all
    pairs (Holm). Empty where the metric is no mean over images."""
    metric, found = ranked[0].metric, {}
    for pair in combinations(range(len(ranked)), 2):
        values = paired(ranked[pair[0]], ranked[pair[1]], metric)
        if values is not None:
            found[pair] = bootstrap(values)
    adjusted = holm([one.p for one in found.values()])
    return {pair: (one, p) for (pair, one), p in zip(found.items(), adjusted, strict=True)}


def order_table(data: str, ranked: Sequence[Trained], found: dict) -> Table:
    """How far each method is ahead of those that come after it; * where that is significant."""
    rows = []
    for i, one in enumerate(ranked):
        cells = []
        for j in range(1, len(ranked)):
            if j <= i:
                cells.append('')
            elif (i, j) not in found:
                cells.append('-')
            else:
                difference, p = found[i, j]
                ahead = -difference.mean if one.lower_is_better else difference.mean
                cells.append(f'{ahead:.2f}{"*" if p < LEVEL else ""}')
        mean, _ = mean_and_deviation(one.scores(one.metric))
        rows.append([f'{i + 1} {one.name}', f'{mean:.2f}', *cells])
    return Table(
        f'Order{f" on {data}" if data else ""}: how much {ranked[0].metric} the row is ahead of '
        'the column',
        ['method', ranked[0].metric, *(str(j + 1) for j in range(1, len(ranked)))],
        rows,
        f'*: significant (p < {LEVEL} after Holm, over all {len(found)} pairs; paired bootstrap '
        f'over {_sizes(found)}). Without it, the order of the two may be chance. Differences are '
        'over the seeds that both have.',
    )


def pairs_table(
    data: str, ranked: Sequence[Trained], found: dict, reference: str | None = None
) -> Table:
    """Every difference with its interval; of the ``reference`` to the others, if one is named."""
    rows = []
    for (i, j), (difference, p) in found.items():
        one, other, sign = ranked[i], ranked[j], 1
        if reference:
            if reference not in (one.key[1], other.key[1]):
                continue
            if one.key[1] == reference:
                one, other, sign = other, one, -1
        low, high = sorted((sign * difference.low, sign * difference.high))
        rows.append(
            [
                f'{one.name} - {other.name}',
                f'{sign * difference.mean:+.2f}',
                f'{low:+.2f} to {high:+.2f}',
                f'{difference.p:.4f}',
                f'{p:.4f}',
            ]
        )
    return Table(
        f'Differences{f" on {data}" if data else ""}: {ranked[0].metric}',
        ['pair', 'difference', '95 % interval', 'p', 'p, Holm'],
        rows,
        f'Paired bootstrap over {_sizes(found)}; two-sided.',
    )


def _sizes(found: dict) -> str:
    seeds = sorted({difference.seeds for difference, _ in found.values()})
    images = sorted({difference.images for difference, _ in found.values()})
    return f'{"-".join(map(str, seeds))} seeds and {"-".join(map(str, images))} images'


def _score(trained: Trained | None, metric: str) -> str:
    values = trained.scores(metric) if trained else []
    return _plus_minus(*mean_and_deviation(values)) if values else '-'


def _plus_minus(mean: float, deviation: float | None) -> str:
    return f'{mean:.2f}' + ('' if deviation is None else f' ± {deviation:.2f}')
