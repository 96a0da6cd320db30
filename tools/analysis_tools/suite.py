"""Trains and tests methods on data sets, and collects the papers' tables; resumable.

python tools/analysis_tools/suite.py --methods decoder_only lora convlora --data kvasir camvid
    Cells are configs/METHOD/DATA.py. A method may also be a call of one, 'convlora(rank=8)' or
    'LoRA(rank=8)', or a config file; a data set also NAME=FILE.py, a config into which the
    methods are put. Missing cells, data sets and weights are reported before anything is trained.
    Each run has a folder below WORK_DIR, its numbers in result.json there. Call it again to go on
    after an interruption, or with more methods, data sets, seeds or rates: what is finished stays.
    report.md, its tables as .csv and .tex, and pictures are in WORK_DIR.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from tool_arguments import Options

from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.analysis.suite.collect import collect
from mmsam_peft.analysis.suite.plan import plan
from mmsam_peft.analysis.suite.trials import Trials, commands

TRIAL = Path(__file__).with_name('trial.py')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--methods', nargs='+', default=[])
    parser.add_argument('--data', nargs='+', default=[], help='names in the tree, or NAME=FILE.py')
    parser.add_argument('--archs', nargs='+', default=[None], help="sizes of SAM's encoder")
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--lrs',
        nargs='+',
        type=float,
        default=[None],
        help="learning rates to sweep; the best by validation is reported (default: the config's)",
    )
    parser.add_argument('--tree', type=Path, default=Path('configs'), help='of METHOD/DATA.py')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/suite'))
    parser.add_argument(
        '--skip-missing', action='store_true', help='leave out what cannot be made, and say so'
    )
    parser.add_argument(
        '--print',
        choices=['local', 'torchrun', 'slurm'],
        help='train nothing: print the commands that do, for one process, for the GPUs of a '
        'machine, or as a Slurm array',
    )
    parser.add_argument('--gpus', type=int, default=1, help='of each printed command')
    parser.add_argument('--jobs', type=int, default=1, help='processes at a time')
    parser.add_argument(
        '--runs-per-process', type=int, default=1, help='above 1, short runs save their start'
    )
    parser.add_argument(
        '--collect-only', action='store_true', help='tables of the results there are in WORK_DIR'
    )
    parser.add_argument('--metrics', nargs='+', default=(), help='columns of the scores')
    parser.add_argument('--reference', help='list the differences to this method only')
    parser.add_argument('--task', help='the one task to train, of configs of several')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='settings to override, in all configs; those of the model only in configs of a '
        'PEFTSegmentor',
    )
    args = parser.parse_args()

    failed = []
    if not args.collect_only:
        if not (args.methods and args.data):
            parser.error('give --methods and --data, or --collect-only')
        runs = plan(
            Cells(args.tree, args.cfg_options, args.task),
            [Data.parse(text) for text in args.data],
            args.methods,
            args.work_dir,
            args.archs,
            args.lrs,
            args.seeds,
            args.skip_missing,
        )
        if args.print:
            print(commands(runs, TRIAL, args.print, args.gpus))
            return
        signal.signal(
            signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
        )  # ends the trainings too
        failed = Trials(TRIAL, args.jobs, args.runs_per_process).run_missing(runs)
    if args.collect_only or len(failed) < len(runs):
        print(collect(args.work_dir, args.metrics, args.reference))
    if failed:
        sys.exit(
            f'{len(failed)} of {len(runs)} runs failed: '
            f'{", ".join(str(run.folder) for run in failed)}'
        )


if __name__ == '__main__':
    main()
