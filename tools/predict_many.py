"""Predicts more images than one process should.

python tools/predict_many.py ADAPTER IMAGES OUT
bash tools/dist_predict.sh ADAPTER IMAGES OUT GPUS
sbatch --array=0-9 tools/slurm_predict.sh ADAPTER IMAGES OUT

IMAGES is a folder, a quoted glob pattern or the address of either in an object store, s3://...; OUT
a folder or the address of one. The same command again goes on where a job was stopped. See
docs/predict_at_scale.md.
"""

import signal
import sys
import time
from collections import Counter
from contextlib import closing

from model_arguments import many_parser, many_settings
from tool_arguments import MODEL, settings_arguments

EVERY = 30.0
"""Seconds between two lines that say how far a process is."""


def main() -> None:
    parser = many_parser(__doc__)
    parser.add_argument(
        '--part', type=int, default=0, help='which of --parts equal parts, from 0 (default: 0)'
    )
    parser.add_argument(
        '--parts',
        type=int,
        default=1,
        help='in how many the images are divided, each for a command of its own (default: 1)',
    )
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()
    if not 0 <= args.part < args.parts:
        parser.error(f'--part {args.part} of --parts {args.parts}: from 0 to {args.parts - 1}')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings, source = many_settings(parser, args)
    from mmsam_peft.apis.at_scale.job import Job, own_device, own_part
    from mmsam_peft.apis.at_scale.manifest import DONE, FAILED

    part, parts = own_part(args.part, args.parts)
    job = Job(settings.model(own_device()), settings, source, args.out)
    left = job.left(part, parts)
    said = start = time.monotonic()
    counts = Counter()
    with closing(job.run(left, part)) as rows:  # which writes what is known where it is stopped
        for row in rows:
            counts[row.status] += 1
            if row.status == FAILED:
                print(f'not predicted: {row.image}: {row.error}', file=sys.stderr, flush=True)
            if time.monotonic() - said >= EVERY:
                said, number = time.monotonic(), counts.total()
                line = f'{number} of {len(left)}, {number / (said - start):.2f} images/s'
                print(f'part {part} of {parts}: {line}', flush=True)
    print(
        f'part {part} of {parts}: {counts[DONE]} images predicted, {counts[FAILED]} failed, '
        f'{len(job.images)} in all: see {args.out}',
        flush=True,
    )
    sys.exit(bool(counts[FAILED]) and parts == 1)  # torchrun would end the other processes


if __name__ == '__main__':
    main()
