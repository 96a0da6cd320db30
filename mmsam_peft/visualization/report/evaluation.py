"""The part of the page about one evaluated set."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ...evaluation.record import View
from ...evaluation.threshold_curve import THRESHOLDS
from .charts import Line, Mark, amount, histogram, line_chart
from .gallery import Gallery, look_of_view, swatch, task_of
from .scored import ClassRow, Scored

WORDS = dict(val='validation', test='test')
CALLED = dict(untuned='before tuning', constant='constant answer')
ARROWS = dict(higher='↑', lower='↓')
Baselines = Mapping[str, Mapping[str, float]]


def evaluation(scored: Scored, baselines: Baselines, gallery: Gallery) -> str:
    info = scored.record.info
    split = WORDS.get(info['split'], info['split'])
    parts = [f'<h2>On the {split} set</h2>' if info['split'] == 'test' else '']
    if len(scored.record.views) > 1:
        parts.append(overview(scored, baselines))
    for view in scored.record.views:
        title = f'<h2 class="task">{escape(view.name)}</h2>' if view.name else ''
        parts += [title, headline(scored, view, baselines, split)]
        if pictures := gallery.html(view):
            parts += ['<h2>What it gets right and wrong</h2>', pictures]
        cards = [spread(scored, view), thresholds(scored) if not view.name else '']
        cards = [f'<div class="card">{one}</div>' for one in cards if one]
        parts.append(f'<div class="grid two" style="margin-top:14px">{"".join(cards)}</div>')
        parts.append(class_tables(scored, view))
        parts.append(score_table(scored, view, baselines))
    if not scored.record.views:
        parts.append(_plain(scored))
    return ''.join(parts)


def overview(scored: Scored, baselines: Baselines) -> str:
    """The main score of each task."""
    rows = []
    for view in scored.record.views:
        name, others = (
            view.score,
            [amount(one.get(view.score, np.nan)) for one in baselines.values()],
        )
        low_high = scored.intervals.get(name)
        arrow = ARROWS.get(scored.record.info['better'].get(name), '')
        rows.append(
            f'<tr><td><strong>{escape(view.name)}</strong></td>'
            f'<td>{escape(name.removeprefix(f"{view.name}/"))} {arrow}</td>'
            f'<td class="num"><strong>{amount(scored.scores.get(name, np.nan))}</strong></td>'
            f'<td class="num">{_between(low_high, 1)}</td>'
            f'{"".join(f"""<td class="num">{one}</td>""" for one in others)}</tr>'
        )
    head = ''.join(f'<th class="num">{escape(CALLED.get(key, key))}</th>' for key in baselines)
    return (
        '<div class="card scroll" style="margin-top:16px"><table><tr><th>task</th><th></th>'
        f'<th class="num">this model</th><th class="num">95 % interval</th>{head}</tr>'
        f'{"".join(rows)}</table></div>'
    )


def _between(interval: tuple[float, float] | None, digits: int) -> str:
    return f'{amount(interval[0], digits)} – {amount(interval[1], digits)}' if interval else ''


def headline(scored: Scored, view: View, baselines: Baselines, split: str) -> str:
    name, value = view.score, scored.scores.get(view.score, float('nan'))
    low_high = scored.intervals.get(name)
    images = len(scored.of_images(view))
    higher = scored.record.info['better'].get(name) == 'higher'
    known = {key: found[name] for key, found in baselines.items() if name in found}
    short = name.removeprefix(f'{view.name}/') if view.name else name
    interval = _between(low_high, 1)
    ranks = {'this model': (value, low_high)} | {
        CALLED.get(key, key): (found, None) for key, found in known.items()
    }
    own = (
        f'<div><h3>{escape(short)}{"" if higher else " (lower is better)"}</h3>'
        f'<div class="big">{amount(value)}</div><small class="quiet">'
        + (f'95 % interval {interval}<br/>' if interval else '')
        + f'{images} {split} image{"s" * (images != 1)}{_moment(scored)}</small></div>'
    )
    return (
        f'<div class="card hero">{own}<div>{_ranks(ranks, higher)}</div></div>'
        f'{_verdict(value, low_high, known, higher) if known or not baselines else ""}'
    )


def _moment(scored: Scored) -> str:
    info = scored.record.info
    if info.get('weights'):
        return f'<br/>{escape(str(info["weights"]))}'
    return f', after iteration {info["iteration"]}' if info.get('iteration') else ''


def _ranks(ranks: Mapping[str, tuple], higher: bool) -> str:
    """Bars of the scores, the interval as a line on the first."""
    values = [value for value, _ in ranks.values() if np.isfinite(value)]
    ends = [end for _, interval in ranks.values() for end in interval or ()]
    top = max([*values, *ends, 1e-9])
    top = 100 if higher and 1 < top <= 100 else top * 1.05
    rows = []
    for i, (name, (value, interval)) in enumerate(ranks.items()):
        width = 100 * min(max(value, 0), top) / top if np.isfinite(value) else 0
        line = ''
        if interval:
            left, right = (100 * min(max(end, 0), top) / top for end in interval)
            line = f'<b style="left:{left:.1f}%;width:{max(right - left, 0.5):.1f}%"></b>'
        rows.append(
            f'<span>{escape(name)}</span><span class="track"><i{" class=own" if not i else ""} '
            f'style="width:{width:.1f}%"></i>{line}</span><span class="num">{amount(value)}</span>'
        )
    return f'<div class="rank">{"".join(rows)}</div>'.replace('class=own', 'class="own"')


def _verdict(value: float, interval: tuple | None, known: Mapping[str, float], higher: bool) -> str:
    """In a sentence or two, whether tuning was worth it."""
    sign = 1 if higher else -1
    sentences, bad = [], False
    for key, found in known.items():
        gain = sign * (value - found)
        other = {'untuned': 'the model before tuning', 'constant': 'always the same answer'}
        other = escape(other.get(key, key))
        if gain <= 0:
            bad = True
            sentences.append(f'<strong>No better than {other}</strong> ({amount(found)}).')
        elif interval and min(sign * end for end in interval) <= sign * found:
            sentences.append(
                f'{amount(gain)} better than {other}, which lies within the interval: with other '
                'images it might be no better.'
            )
        else:
            sentences.append(f'{amount(gain)} better than {other}.')
    if not known:
        sentences.append(
            '<span class="quiet">Nothing to compare with: baselines.json in the work directory, '
            'scores of the model before tuning and of a constant answer, is not there. A training '
            'with default_hooks.baselines.type=BaselinesHook measures them.</span>'
        )
    kind = 'verdict warn' if bad else 'verdict'
    return f'<p class="{kind}">{" ".join(sentences)}</p>'


def spread(scored: Scored, view: View) -> str:
    values = scored.of_images(view)
    values = values[np.isfinite(values)]
    if len(values) < 3:
        return ''
    low, high = float(values.min()), float(values.max())
    if scored.record.info['better'].get(view.score) == 'higher' and 0 <= low and 1 < high <= 101:
        low, high = 0.0, 100.0
    high = high if high > low else low + 1
    middle, tenth = np.median(values), np.quantile(values, 0.1)
    short = escape(view.score.removeprefix(f'{view.name}/') if view.name else view.score)
    return (
        f'<h3>{short} of each image</h3>{histogram(values, low, high, float(middle))}'
        f'<small>Median {amount(middle)} (dashed); a tenth of the images is below '
        f'{amount(tenth)}.</small>'
    )


def thresholds(scored: Scored) -> str:
    curve, used = scored.record.curve, scored.record.info.get('threshold')
    if curve is None:
        return ''
    best = int(np.argmax(curve))
    marks = [] if used is None else [Mark(f'used: {used:.2f}', x=used)]
    chart = line_chart([Line(THRESHOLDS, curve)], 'threshold of the probability', 'Dice', marks)
    now = '' if used is None else f' Used: {np.interp(used, THRESHOLDS, curve):.2f}.'
    return (
        f'<h3>Dice by threshold</h3>{chart}<small>Highest, {curve[best]:.2f}, at '
        f'{THRESHOLDS[best]:.2f}.{now} Chosen on the same images, the highest is a little too '
        'good; a flat curve means that the threshold hardly matters.</small>'
    )


def class_tables(scored: Scored, view: View) -> str:
    """One, or one of each test set."""
    tables = scored.classes.get(view.name) or {}
    return ''.join(_class_table(rows, view, name) for name, rows in tables.items())


def _class_table(rows: Sequence[ClassRow], view: View, set_name: str) -> str:
    of_set = f' of {escape(set_name)}' if set_name else ''
    look = look_of_view(view, task_of(view))
    cells = []
    for row in sorted(rows, key=lambda one: (np.isnan(one.iou), one.iou)):
        if row.number >= len(look.names):
            continue
        low, high = row.interval
        known = np.isfinite(row.iou)
        between = f'{amount(low)} – {amount(high)}' if np.isfinite([low, high]).all() else ''
        bar = (
            '<span class="track" style="display:block"><i class="own" '
            f'style="width:{row.iou:.1f}%"></i></span>'
            if known
            else ''
        )
        cells.append(
            f'<tr><td>{swatch(look.names[row.number], look.colours[row.number])}</td>'
            f'<td class="num">{amount(row.iou) if known else "not there"}</td><td>{bar}</td>'
            f'<td class="num">{between}</td><td class="num">{100 * row.labelled:.2f} %</td>'
            f'<td class="num">{100 * row.predicted:.2f} %</td></tr>'
        )
    return (
        f'<h2>Classes{of_set}, worst first</h2><div class="card scroll"><table><tr><th>class</th>'
        '<th class="num">IoU</th><th style="width:28%"></th><th class="num">95 % interval</th>'
        '<th class="num">of truth</th><th class="num">of prediction</th></tr>'
        f'{"".join(cells)}</table></div>'
    )


def score_table(scored: Scored, view: View, baselines: Baselines) -> str:
    others = [key for key in baselines]
    rows = []
    for name, value in scored.own(view).items():
        interval = scored.intervals.get(name)
        between = _between(interval, 2)
        better = ARROWS.get(scored.record.info['better'].get(name), '')
        compared = [
            amount(baselines[key][name], 2) if name in baselines[key] else '' for key in others
        ]
        compared = ''.join(f'<td class="num">{one}</td>' for one in compared)
        rows.append(
            f'<tr><td>{escape(name)} {better}</td><td class="num"><strong>{amount(value, 2)}'
            f'</strong></td><td class="num">{between}</td>{compared}</tr>'
        )
    head = ''.join(f'<th class="num">{escape(CALLED.get(key, key))}</th>' for key in others)
    return (
        '<h2>All scores</h2><div class="card scroll"><table><tr><th></th><th class="num">this '
        f'model</th><th class="num">95 % interval</th>{head}</tr>{"".join(rows)}</table></div>'
        '<p class="quiet"><small>↑ higher is better, ↓ lower is. Intervals: 1000 times as many '
        'images are drawn from these with replacement and scored anew; they say what other images '
        'of the same kind might give, not what another training would.</small></p>'
    )


def _plain(scored: Scored) -> str:
    rows = ''.join(
        f'<tr><td>{escape(name)}</td><td class="num">{amount(value, 2)}</td></tr>'
        for name, value in scored.scores.items()
    )
    return (
        f'<div class="card"><table>{rows}</table></div><p class="quiet">The metrics of this run '
        'keep no numbers of single images: there are no intervals and no pictures.</p>'
    )
