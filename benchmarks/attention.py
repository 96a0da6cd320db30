"""The forms of attention with relative positions on a CPU: processor seconds and what autograd
keeps, each form in turn.

OMP_NUM_THREADS=1 python benchmarks/attention.py --maps 1x14 4x14 16x14 1x32 1x64 --rounds 5
    4x14: four maps, or windows, of 14 x 14 cells; heads of 64 channels. Position terms included.
    Ratios are to the form in chunks.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch

from mmsam_peft.analysis.machine import clock, median_and_range
from mmsam_peft.analysis.step_cost import bytes_kept
from mmsam_peft.layers import attention

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
    parser.add_argument('--maps', nargs='+', default=['16x14', '1x64'], help='MAPSxSIDE')
    parser.add_argument('--heads', type=int, default=12)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    print(
        '| maps | form | forward, ms | of chunks | forward + backward, ms | of chunks | kept, MB |'
        '\n|---|---|---:|---:|---:|---:|---:|'
    )
    for name in args.maps:
        maps, side = map(int, name.split('x'))
        qkv = torch.randn(maps, side * side, 3, args.heads, 64, dtype=dtype, requires_grad=True)
        table = 0.1 * torch.randn(2 * side - 1, 64, dtype=dtype)
        rounds = [
            [measure(getattr(attention, f'{form}_attention'), qkv, table, side) for form in FORMS]
            for _ in range(args.rounds + 1)
        ]
        for column, form in zip(zip(*rounds[1:], strict=True), FORMS, strict=True):
            cells = []
            for part in range(2):
                seconds = [one[0][part] for one in column]
                chunks = [one[0][0][part] for one in rounds[1:]]
                ratios = [own / other for own, other in zip(seconds, chunks, strict=True)]
                cells += [f'{1e3 * median(seconds):.1f}']
                cells += ['{:.2f} ({:.2f} to {:.2f})'.format(*median_and_range(ratios))]
            print(f'| {name} | {form} | {" | ".join(cells)} | {column[0][1]:.1f} |', flush=True)


if __name__ == '__main__':
    main()
