"""The tables of what gpu.py found, in Markdown."""

from collections.abc import Callable, Iterator

PUBLISHED = {'base': 85.5, 'huge': 22.9}
"""Images per second of segment-anything-fast's encoder on an A100 in bfloat16, with its own kernel,
as published (https://pytorch.org/blog/accelerating-generative-ai/)."""


def tables(found: dict) -> str:
    """All parts that are there, errors as they were."""
    where = found['machine']
    lines = [f'Measured on {where.get("gpu", where["cpu"])}, PyTorch {where["torch"]}.', '']
    for name, part in found['parts'].items():
        lines += [f'### {name.replace("_", " ")}', '']
        if 'error' in part or 'note' in part:
            lines += [part.get('error') or part['note'], '']
            continue
        lines += [*(WRITERS.get(name) or _compared)(part), '']
    return '\n'.join(lines)


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f'| {" | ".join(head)} |'
    yield f'|---|{"---:|" * (len(head) - 1)}'
    for row in rows:
        yield f'| {" | ".join(row)} |'


def _compared(part: dict) -> Iterator[str]:
    rows = []
    for name, cost in part.items():
        if 'ratio' not in cost:
            rows.append([f'`{name}`', cost.get('error', ''), '', ''])
            continue
        rate = f'{cost["images_per_second"]:.2f}'
        rows.append([f'`{name}`', rate, f'{cost["peak"] / 1e9:.2f}', _ratio(cost['ratio'])])
    return _table(['', 'images/s', 'peak, GB', 'time, of the first'], rows)


def _ratio(values: list[float]) -> str:
    return '{:.2f} ({:.2f} to {:.2f})'.format(*values)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return value['error']
    if isinstance(value, list):
        return _ratio(value)
    return f'{value:.2g}' if isinstance(value, float) else str(value)


def _pairs(head: list[str]) -> Callable[[dict], Iterator[str]]:
    return lambda part: _table(head, [[name, _value(value)] for name, value in part.items()])


def _correctness(part: dict) -> Iterator[str]:
    rows = [[name, _value(v)] for group in part.values() for name, v in group.items()]
    return _table(['', 'relative error'], rows)


def _forms(part: dict) -> Iterator[str]:
    rows = []
    for name, times in part.items():
        ends = (
            (_ms(times['forward']), _ms(times['both'])) if 'both' in times else (times['error'], '')
        )
        rows.append([name, *ends])
    return _table(['form', 'forward, ms', 'forward + backward, ms'], rows)


def _ms(values: list[float]) -> str:
    return '{:.2f} ({:.2f} to {:.2f})'.format(*(1e3 * value for value in values))


def _rates(part: dict) -> Iterator[str]:
    rows = []
    for name, value in part.items():
        published = PUBLISHED.get(name.partition(',')[0])
        rows.append([name, _value(value), f'{published} (A100)' if published else ''])
    return _table(['encoder', 'images/s', 'segment-anything-fast, published'], rows)


def _limited(part: dict) -> Iterator[str]:
    rows = [
        [name, f'{one["peak"] / 2**30:.2f}' if 'peak' in one else one['error']]
        for name, one in part.items()
    ]
    return _table(['', 'peak, GiB'], rows)


WRITERS: dict[str, Callable[[dict], Iterator[str]]] = dict(
    correctness=_correctness,
    synchronisation=_pairs(['method', 'a step while each wait is an error']),
    attention_forms=_forms,
    compiled=_pairs(['', 'seconds of the first step; time, of blocks as they are']),
    images_per_second=_rates,
    training_with_amp=_pairs(['', 'of the training']),
    four_gigabytes=_limited,
)
