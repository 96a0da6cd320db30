"""Predicts more images than one machine should, by Ray Data.

python tools/ray_predict.py ADAPTER IMAGES OUT --workers 2

On a cluster of Ray (ray start ...), or by itself on this machine. IMAGES and OUT as for
tools/predict_many.py, whose jobs it can go on with. See docs/predict_at_scale.md.
"""

import sys
from collections import Counter

from model_arguments import many_parser, many_settings
from tool_arguments import MODEL, settings_arguments


def main() -> None:
    parser = many_parser(__doc__)
    parser.add_argument(
        '--workers', type=int, required=True, help='processes with a model, at most'
    )
    parser.add_argument('--gpus', type=float, default=0, help='of each worker (default: 0)')
    parser.add_argument('--cpus', type=float, default=1, help='of each worker (default: 1)')
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f'--workers {args.workers}: at least 1')
    settings, source = many_settings(parser, args)
    from mmsam_peft.apis.at_scale.manifest import DONE, FAILED
    from mmsam_peft.apis.at_scale.ray_job import run_with_ray

    counts = Counter()
    for row in run_with_ray(settings, source, args.out, args.workers, args.gpus, args.cpus):
        counts[row.status] += 1
        if row.status == FAILED:
            print(f'not predicted: {row.image}: {row.error}', file=sys.stderr, flush=True)
    print(f'{counts[DONE]} images predicted, {counts[FAILED]} failed: see {args.out}')
    sys.exit(bool(counts[FAILED]))


if __name__ == '__main__':
    main()
