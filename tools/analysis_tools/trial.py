"""Makes runs that suite.py has planned, one after another, in this process.

python tools/analysis_tools/trial.py FOLDER ...
torchrun --nproc_per_node=8 tools/analysis_tools/trial.py FOLDER --launcher pytorch

What is finished stays as it is; what was interrupted goes on. A run that fails leaves failure.txt
in its folder, and the others are made.
"""

import argparse
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from mmsam_peft.analysis.suite.trial import make_trials


@record  # torchrun ends its report with the error
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folders', nargs='+', type=Path)
    parser.add_argument(
        '--shared', action='store_true', help='other trainings run here at the same time'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    failed = make_trials(args.folders, args.launcher, args.shared)
    if failed:
        sys.exit(f'{len(failed)} of {len(args.folders)} failed: {", ".join(map(str, failed))}')


if __name__ == '__main__':
    main()
