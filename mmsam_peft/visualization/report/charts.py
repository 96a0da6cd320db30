"""Small charts as SVG inside of a page. Their colours are the page's, light or dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34
LINE = 13
"""Between two lines of text."""
MOST_POINTS = 400
"""Of a line; more are averaged."""


@dataclass
class Line:
    x: Sequence[float]
    y: Sequence[float]
    """NaN where there is none: the line has a gap."""
    name: str = ''
    kind: str = 'a'
    """Its style: a, b, c, d are colours."""
    dots: bool = False


@dataclass
class Mark:
    """A straight line across the chart, at ``x`` or at ``y``, with a name."""

    name: str
    x: float | None = None
    y: float | None = None
    kind: str = 'quiet'


def line_chart(
    lines: Sequence[Line],
    x_name: str,
    y_name: str,
    marks: Sequence[Mark] = (),
    log: bool = False,
    whole: bool = False,
) -> str:
    """Lines over numbers; '' where there is nothing finite to show.

    Args:
        log: Whether the vertical axis is logarithmic, where all values are positive.
        whole: Whether x are whole numbers.
    """
    thin = [_thinned(line) for line in lines]
    xs = np.concatenate([x for x, _ in thin] + [[m.x for m in marks if m.x is not None]])
    ys = np.concatenate([y for _, y in thin] + [[m.y for m in marks if m.y is not None]])
    ys = ys[np.isfinite(ys)]
    if not len(xs) or not len(ys):
        return ''
    log = log and ys.min() > 0
    scale = np.log10 if log else np.asarray
    low, high = float(scale(ys.min())), float(scale(ys.max()))
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1
    x_low, x_high = float(xs.min()), float(xs.max())
    if x_high == x_low:
        x_low, x_high = x_low - 1, x_high + 1
    low, high = low - room, high + room
    if not log and ys.min() >= 0:
        low = max(low, 0)

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in _log_ticks(low, high) if log else ticks(low, high):
        y, text = up(tick), number(10**tick) if log else number(tick, high - low)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/>')  # fmt: skip
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in ticks(x_low, x_high, whole=whole):
        parts.append(
            f'<text x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
            f'{number(tick, x_high - x_low)}</text>'
        )
    names = _clear(
        {mark.name: up(float(scale(mark.y))) - 5 for mark in marks if mark.y is not None}
    )
    for mark in marks:
        parts.append(_mark(mark, across, up, scale, names))
    for line, (x, y) in zip(lines, thin, strict=True):
        parts.append(_path(line, [across(one) for one in x], y, scale, up))
    if any(line.name for line in lines) and len(lines) > 1:
        parts.append(_names(lines))
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" class="axis">'
                 f'{escape(x_name)}</text>')  # fmt: skip
    label = escape(f'{y_name} over {x_name}', quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        + ''.join(parts)
        + '</svg>'
    )


def histogram(values: np.ndarray, low: float, high: float, mark: float) -> str:
    """How many values there are in each of 20 equal parts; a line at ``mark``."""
    counts, edges = np.histogram(np.clip(values, low, high), bins=20, range=(low, high))
    height, base = 190, 164
    step = (WIDTH - LEFT - RIGHT) / len(counts)
    parts = []
    for i, count in enumerate(counts):
        tall = 140 * count / max(counts.max(), 1)
        parts.append(
            f'<rect class="bar" x="{LEFT + i * step + 1:.1f}" y="{base - tall:.1f}" '
            f'width="{step - 2:.1f}" height="{tall:.1f}"><title>{number(edges[i])} to '
            f'{number(edges[i + 1])}: {count}</title></rect>'
        )
    for tick in ticks(low, high):
        x = LEFT + (tick - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">'
                     f'{number(tick, high - low)}</text>')  # fmt: skip
    x = LEFT + (np.clip(mark, low, high) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    parts.append(f'<line class="mark ink" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{base}"/>')
    parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="32" text-anchor="end">{counts.max()}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="scores of the images">'
        + ''.join(parts)
        + '</svg>'
    )


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to eight round numbers."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 7)
    step = max(step, 1) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float, span: float | None = None) -> str:
    """As short as tells it from others within ``span``."""
    if not math.isfinite(value):
        return '–'
    size = abs(value if span is None else span)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f'{value:.1e}'.replace('e-0', 'e-').replace('e+0', 'e')
    digits = 0 if size >= 20 else 1 if size >= 3 else 2 if size >= 0.3 else 4
    text = f'{value:.{digits}f}'
    return text.rstrip('0').rstrip('.') if '.' in text and span is not None else text


def amount(value: float, digits: int = 1) -> str:
    """A score: so many digits after the point, two more below 1."""
    if not math.isfinite(value):
        return '–'
    return '0' if value == 0 else f'{value:.{digits if abs(value) >= 1 else digits + 2}f}'


def _log_ticks(low: float, high: float) -> list[float]:
    whole = [float(i) for i in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) >= 2:
        return whole[:: -(-len(whole) // 6)]
    values = [base * 10.0**i for i in range(math.floor(low), math.ceil(high)) for base in (1, 2, 5)]
    inside = [math.log10(value) for value in values if low <= math.log10(value) <= high]
    return inside or [(low + high) / 2]


def _thinned(line: Line) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    if len(x) <= MOST_POINTS:
        return x, y
    x, y = (np.array_split(one, MOST_POINTS) for one in (x, y))
    mean = [part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in y]
    return np.array([part.mean() for part in x]), np.array(mean)


def _path(line: Line, x: Sequence[float], y: np.ndarray, scale, up) -> str:
    commands, pen, dots = [], 'M', []
    for i, (left, value) in enumerate(zip(x, y, strict=True)):
        if not np.isfinite(value):
            pen = 'M'
            continue
        top = up(float(scale(value)))
        commands.append(f'{pen}{left:.1f} {top:.1f}')
        alone = pen == 'M' and (i + 1 == len(x) or not np.isfinite(y[i + 1]))
        if line.dots or alone:
            dots.append(f'<circle class="dot {line.kind}" cx="{left:.1f}" cy="{top:.1f}" r="2.4"/>')
        pen = 'L'
    return f'<path class="line {line.kind}" d="{" ".join(commands)}"/>' + ''.join(dots)


def _clear(heights: Mapping[str, float]) -> dict[str, float]:
    """Heights of names; where two would cover each other, the upper one is moved further up."""
    placed: dict[str, float] = {}
    for name, y in sorted(heights.items(), key=lambda one: -one[1]):
        lowest = min(placed.values(), default=math.inf) - LINE
        placed[name] = min(y, lowest)
    return placed


def _mark(mark: Mark, across, up, scale, names: Mapping[str, float]) -> str:
    if mark.x is not None:
        x = across(mark.x)
        end = x > WIDTH * 0.7
        return (
            f'<line class="mark {mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
            f'y2="{HEIGHT - BOTTOM}"/><text x="{x + (-5 if end else 5):.1f}" y="{TOP + 10}" '
            f'text-anchor="{"end" if end else "start"}">{escape(mark.name)}</text>'
        )
    y = up(float(scale(mark.y)))
    return (
        f'<line class="mark {mark.kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
        f'y2="{y:.1f}"/><text x="{WIDTH - RIGHT}" y="{names[mark.name]:.1f}" '
        f'text-anchor="end">'
        f'{escape(mark.name)}</text>'
    )


def _names(lines: Sequence[Line]) -> str:
    parts, left = [], LEFT + 4
    for line in lines:
        parts.append(f'<line class="line {line.kind}" x1="{left}" x2="{left + 14}" y1="{TOP}" '
                     f'y2="{TOP}"/><text x="{left + 18}" y="{TOP + 4}">'
                     f'{escape(line.name)}</text>')  # fmt: skip
        left += 30 + 7 * len(line.name)
    return ''.join(parts)
