"""The part of the page about the training: curves, data, settings, environment."""

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from .charts import Line, Mark, amount, line_chart
from .gallery import swatch
from .work_dir import Log, Run

NOT_SCORES = ('time', 'data_time', 'step', 'iter', 'epoch', 'memory', 'loss', 'lr', 'base_lr')
KINDS = 'abcd'
SHARES = (
    '#4c78a8', '#f58518', '#54a24b', '#b279a2', '#e45756', '#72b7b2', '#eeca3b', '#9d755d',
)  # fmt: skip


def curves(run: Run, main: list[str], reached: Mapping[str, int | None]) -> str:
    """Loss, learning rate, and the scores by which one judges.

    Args:
        main: Names of scores that get a chart each.
        reached: The iteration of what the page shows, by score.
    """
    log = run.log
    x = [entry['iter'] for entry in log.training]
    lines = [
        Line(x, values, name, kind)
        for kind, (name, values) in zip(KINDS, _losses(log).items(), strict=False)
    ]
    charts = {'Loss': line_chart(lines, 'iteration', 'loss', log=_wide(lines), whole=True)}
    rates = [_value(entry, 'lr') for entry in log.training]
    charts['Learning rate'] = line_chart([Line(x, rates)], 'iteration', 'learning rate', whole=True)
    for name in main:
        charts[f'{name} in validation'] = _score_chart(run, name, reached.get(name))
    rest = [
        key
        for key in dict.fromkeys(key for entry in log.validation for key in entry)
        if key not in NOT_SCORES and key not in main
    ]
    more = {name: _score_chart(run, name, None) for name in rest}
    notes = _remarks(run, log)
    shown = _cards(charts)
    if not shown:
        return f'<h2>Training</h2>{notes}' if notes else ''
    folded = _cards(more)
    if folded:
        folded = f'<details><summary>Other scores in validation</summary>{folded}</details>'
    return f'<h2>Training</h2>{notes}{shown}{folded}'


def _losses(log: Log) -> dict[str, list[float]]:
    """The sum, and its parts where at least two are a twentieth of it."""
    names = dict.fromkeys(key for entry in log.training for key in entry if 'loss' in key)
    found = {name: [_value(entry, name) for entry in log.training] for name in names}
    size = {name: np.nanmean(np.abs(values or [0])) for name, values in found.items()}
    parts = [
        name for name in found if name != 'loss' and not size[name] < 0.05 * size.get('loss', 0)
    ]
    return (
        {name: found[name] for name in ('loss', *(parts if len(parts) > 1 else ()))}
        if found
        else {}
    )


def _wide(lines: list[Line]) -> bool:
    """Whether the first line's values span more than a factor of 20."""
    values = np.array(lines[0].y if lines else [])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 20 * values.min())


def _score_chart(run: Run, name: str, reached: int | None) -> str:
    found = [(entry['iter'], _value(entry, name)) for entry in run.log.validation if name in entry]
    if not found:
        return ''
    marks = [
        Mark(dict(untuned='before tuning', constant='constant').get(key, key), y=scores[name])
        for key, scores in run.baselines.items()
        if name in scores and math.isfinite(scores[name])
    ]
    if reached and len(found) > 1:
        marks.append(Mark('shown here', x=reached))
    x, y = zip(*found, strict=True)
    return line_chart([Line(x, y, dots=len(x) <= 60)], 'iteration', name, marks, whole=True)


def _remarks(run: Run, log: Log) -> str:
    remarks = []
    broken = sum(not math.isfinite(_value(entry, 'loss')) for entry in log.training)
    left_out = run.facts.get('steps_left_out', 0)
    if left_out:
        remarks.append(
            f'{left_out} step{"s" * (left_out != 1)} had a loss or gradient that was NaN or '
            'infinite and '
            f'{"were" if left_out != 1 else "was"} left out.'
        )
    elif broken:
        remarks.append(f'{broken} of the logged losses are NaN or infinite: gaps in the curve.')
    if log.training and not log.validation:
        remarks.append('This training had no validation.')
    if run.facts.get('ended') == 'stopped':
        remarks.append(
            'It was stopped before its end; the same command with --resume goes on from there.'
        )
    return ''.join(f'<p>{one}</p>' for one in remarks)


def data(run: Run) -> str:
    """What the check before the run found in each split."""
    summaries: dict = run.facts.get('data') or {}
    parts = []
    for split, one in summaries.items():
        sizes = one.get('sizes') or []
        size = ''
        if len(sizes) == 1:
            size = f'{sizes[0][1]} × {sizes[0][0]} pixels'
        elif sizes:
            (h, w), (tall, wide) = one['smallest'], one['largest']
            size = (
                f'{w} × {h} to {wide} × {tall} pixels, most often '
                f'{sizes[0][1]} × {sizes[0][0]} ({sizes[0][2]} images)'
            )
        shares = ''.join(_shares(task, counts, one) for task, counts in one['classes'].items())
        parts.append(
            f'<div class="card"><h3>{escape(split)}</h3><p><strong>{one["images"]}</strong> images'
            f'{", " + size if size else ""}</p>{shares}</div>'
        )
    return f'<h2>Data</h2><div class="grid three">{"".join(parts)}</div>' if parts else ''


def _shares(task: str, counts: Mapping[str, int], one: Mapping) -> str:
    whole = sum(counts.values()) + one['ignored'].get(task, 0)
    if not whole:
        return ''
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    ordered = [(name, count, SHARES[i % len(SHARES)]) for i, (name, count) in enumerate(ordered)]
    if one['ignored'].get(task):
        ordered.append(('ignored', one['ignored'][task], '#969696'))
    bar = ''.join(
        f'<span style="width:{100 * count / whole:.2f}%;background:{colour}"></span>'
        for _, count, colour in ordered
    )
    names = ''.join(
        swatch(f'{name} {100 * count / whole:.1f} %', _rgb(colour))
        for name, count, colour in ordered[:24]
    )
    title = f'<small>{escape(task)}</small>' if task else ''
    return f'{title}<div class="share">{bar}</div><div class="keys">{names}</div>'


def facts(run: Run) -> str:
    parts = []
    for title, key in (('Settings', 'settings'), ('Environment', 'environment')):
        rows = ''.join(
            f'<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>'
            for name, value in (run.facts.get(key) or {}).items()
        )
        if rows:
            parts.append(f'<div class="card"><h3>{title}</h3><table class="facts">{rows}'
                         '</table></div>')  # fmt: skip
    cards = f'<div class="grid two">{"".join(parts)}</div>' if parts else ''
    config = _config(run)
    if config:
        config = (
            '<details><summary>The whole config</summary>'
            f'<pre>{escape(config[:200_000])}</pre></details>'
        )
    return f'<h2>Settings and environment</h2>{cards}{config}' if cards or config else ''


def _config(run: Run) -> str:
    """The newest config that the runner wrote."""
    paths = [*run.folder.glob('*/vis_data/config.py'), *run.folder.glob('*.py')]
    paths = sorted(paths, key=lambda path: path.stat().st_mtime)
    return paths[-1].read_text(errors='replace') if paths else ''


def _cards(charts: Mapping[str, str]) -> str:
    cards = [
        f'<div class="card"><h3>{escape(name)}</h3>{chart}</div>'
        for name, chart in charts.items()
        if chart
    ]
    return f'<div class="grid two">{"".join(cards)}</div>' if cards else ''


def _value(entry: Mapping, key: str) -> float:
    value = entry.get(key)
    return float(value) if isinstance(value, int | float) else np.nan


def _rgb(code: str) -> tuple[int, ...]:
    return tuple(int(code[i : i + 2], 16) for i in (1, 3, 5))


def last_scores(run: Run) -> str:
    """Of a training without a record: what it logged last."""
    if not run.log.validation:
        return ''
    rows = ''.join(
        f'<tr><td>{escape(name)}</td><td class="num">{amount(_value(run.log.validation[-1], name))}'
        '</td></tr>'
        for name in run.log.validation[-1]
        if name not in NOT_SCORES
    )
    return f'<div class="card"><h3>Last validation</h3><table>{rows}</table></div>'
