"""Measures a training step of the encoder, of methods and of the usual forms they are to beat, in
turn in one process.

python tools/analysis_tools/benchmark.py --methods LoRA ConvLoRA sam+plain:LoRA --size 1024
    A form before a method: sam (segment-anything's own encoder), hf (that of
    transformers, with LoRA of peft), timm (that of timm, likewise), eager (attention matrix in
    memory), plain (LoRA added apart; Conv-LoRA's experts up-sampled, one by one), checkpointed.
    Ratios are to the first method, round by round: median, least and greatest. GFLOP: of a step;
    kept: by autograd for the backward pass; peak: above what was held before the step; on a CPU,
    times are of the processor, shared out among the threads.
"""

import argparse
import sys
from functools import partial
from itertools import product
from pathlib import Path

from mmsam_peft.analysis.step_cost import DTYPES, Setting, benchmark


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        required=True,
        help="METHOD, 'METHOD(OPTION=VALUE)', FORM:METHOD, FORM+FORM:METHOD",
    )
    parser.add_argument('--arch', nargs='+', default=['base'], help="SAM's, or encoders' names")
    parser.add_argument('--size', nargs='+', type=int, default=[1024], help='side of the image')
    parser.add_argument('--batch', nargs='+', type=int, default=[1])
    parser.add_argument('--dtype', nargs='+', default=['float32'], choices=DTYPES)
    parser.add_argument('--device', nargs='+', default=['cpu'], help='cpu, cuda')
    parser.add_argument(
        '--inference', action='store_true', help='forward passes alone, without gradients'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=5,
        help='0: count operations and kept bytes without computing anything',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark.json'),
        help='and the table beside it, as .md',
    )
    args = parser.parse_args()
    settings = [
        Setting(*one, args.inference)
        for one in product(args.arch, args.size, args.batch, args.dtype, args.device)
    ]
    print(
        benchmark(
            args.methods,
            settings,
            args.rounds,
            args.out,
            partial(print, file=sys.stderr, flush=True),
        )
    )


if __name__ == '__main__':
    main()
