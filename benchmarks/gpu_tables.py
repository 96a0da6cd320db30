"""The tables of what gpu.py found, in Markdown."""

from collections.abc import Callable, Iterator

PUBLISHED = {'base': 85.5, 'huge': 22.9}
"""Images per second of segment-anything-fast's encoder on an A100 in bfloat16, with its own kernel,
as published (https://pytorch.org/blog/accelerating-generative-ai/)."""


def tables(found: dict) -> str:
    """All parts that are there, errors as they were."""
    where = found['machine']
    lines = [f'Measured on {where.get("gpu", where["cpu"])}, PyTorch {where["torch"]}.', '']
    lines += [*_table(['goal', 'found', ''], list(goals(found['parts']))), '']
    for name, part in found['parts'].items():
        lines += [f'### {name.replace("_", " ")}', '']
        if 'error' in part or 'note' in part:
            lines += [part.get('error') or part['note'], '']
            continue
        lines += [*(WRITERS.get(name) or _compared)(part), '']
    return '\n'.join(lines)


def goals(parts: dict) -> Iterator[list[str]]:
    """What was to be shown, what was found, and whether that shows it."""
    parts = {name: {} if part.keys() & {'error', 'note'} else part for name, part in parts.items()}
    waits = parts.get('synchronisation', {})
    free = sum(found == 'no wait' for found in waits.values())
    yield _goal(
        'no wait for the GPU in a step',
        f'{free} of {len(waits)} methods' if waits else None,
        free == len(waits),
    )
    for name in ('LoRA', 'ConvLoRA'):
        peak = parts.get('four_gigabytes', {}).get(f'{name}, bfloat16', {}).get('peak')
        yield _goal(f'ViT-H with {name} on a card of 4 GB', peak and f'{peak / 1e9:.2f} GB', True)
    ratio = parts.get('conv_lora', {}).get('ConvLoRA', {}).get('ratio')
    yield _goal(
        'time of Conv-LoRA, of LoRA: 1.05', ratio and _ratio(ratio), ratio and ratio[0] <= 1.05
    )
    for arch in ('base', 'large', 'huge'):
        costs = parts.get(f'training_{arch}', {})
        ours = costs.get('LoRA', {}).get('peak')
        for peer in ('sam:LoRA', 'hf:LoRA'):
            ratio, peak = (costs.get(peer, {}).get(key) for key in ('ratio', 'peak'))
            yield _goal(
                f'{arch}: time of `{peer}`, of ours: 3',
                ratio and _ratio(ratio),
                ratio and ratio[0] >= 3,
            )
            share = ours / peak if ours and peak else None
            yield _goal(
                f"{arch}: our memory, of `{peer}`'s: 0.33",
                share and f'{share:.2f}',
                share and share <= 1 / 3,
            )
    losses = parts.get('training_with_amp', {})
    yield _goal(
        'a training in float16 without NaN',
        losses and f'{losses["iterations"]} iterations, {losses["dtype"]}',
        losses and losses['iterations'] >= 200 and losses['dtype'] == 'float16',
    )


def _goal(what: str, found: str | None, met: object) -> list[str]:
    return [what, found, 'met' if met else 'not met'] if found else [what, 'not measured', '']


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f'| {" | ".join(head)} |'
    yield f'|---|{"---:|" * (len(head) - 1)}'
    for row in rows:
        yield f'| {" | ".join(row)} |'


def _compared(part: dict) -> Iterator[str]:
    rows = []
    for name, cost in part.items():
        peak = f'{cost["peak"] / 1e9:.2f}' if 'peak' in cost else ''
        if 'ratio' not in cost:
            rows.append([f'`{name}`', cost.get('error', ''), peak, ''])
            continue
        rate = f'{cost["images_per_second"]:.2f}'
        rows.append([f'`{name}`', rate, peak, _ratio(cost['ratio'])])
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
