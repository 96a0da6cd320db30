"""The forms of attention with relative positions on a CPU: processor seconds and what autograd
keeps, each form in turn.

OMP_NUM_THREADS=1 python benchmarks/attention.py --dtype float32 --rounds 5
    window: the 25 windows of a 64 x 64 map, global: the whole map; 12 heads of 64 channels (ViT-B
    at 1024 x 1024). Position terms included.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch

from mmsam_peft.analysis.machine import clock, median_and_range
from mmsam_peft.analysis.step_cost import bytes_kept
from mmsam_peft.layers import attention

SIZES = {'window': (25, 14), 'global': (1, 64)}
FORMS = ('chunked', 'concat', 'bias', 'eager')
Seconds = tuple[float, float]


def measure(
    form: Callable, qkv: torch.Tensor, table: torch.Tensor, side: int
) -> tuple[Seconds, float]:
    """Seconds without and with gradients, and MB kept."""

    def forward() -> torch.Tensor:
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return form(
            q, k, v, *attention.decomposed_bias(q, table, table, (side, side)), q.shape[-1] ** -0.5
        )

    times = [clock('cpu')]
    with torch.no_grad():
        forward()
    times.append(clock('cpu'))
    with bytes_kept() as kept:
        y = forward()
    y.sum().backward()
    times.append(clock('cpu'))
    return (times[1] - times[0], times[2] - times[1]), sum(kept.values()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--maps', nargs='+', default=list(SIZES), choices=SIZES)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    print(
        '| map | form | forward, s | forward + backward, s | of eager | kept, MB '
        '|\n|---|---|---|---|---|---|'
    )
    for name in args.maps:
        maps, side = SIZES[name]
        qkv = torch.randn(maps, side * side, 3, 12, 64, dtype=dtype, requires_grad=True)
        table = 0.1 * torch.randn(2 * side - 1, 64, dtype=dtype)
        rounds = [
            [measure(getattr(attention, f'{form}_attention'), qkv, table, side) for form in FORMS]
            for _ in range(args.rounds)
        ]
        for column, form in zip(zip(*rounds, strict=True), FORMS, strict=True):
            forward, both = (
                median(values) for values in zip(*(seconds for seconds, _ in column), strict=True)
            )
            ratios = median_and_range(
                [
                    seconds[1] / others[-1][0][1]
                    for (seconds, _), others in zip(column, rounds, strict=True)
                ]
            )
            print(
                f'| {name} | {form} | {forward:.2f} | {both:.2f} | '
                f'{"{:.2f} ({:.2f} to {:.2f})".format(*ratios)} | '
                f'{column[0][1]:.0f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
