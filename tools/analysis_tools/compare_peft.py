"""Trains and tests fine-tuning methods on one data set, as many seeds of each, and writes a table
and a plot; resumable. The simplest case of suite.py, which has more data sets and learning rates.

python tools/analysis_tools/compare_peft.py CONFIG --methods LoRA 'LoRA(rank=8)' OTHER_CONFIG
    Each run is WORK_DIR/METHOD/seedK/, its numbers in result.json there; table.md and plot.png are
    in WORK_DIR. Call it again to go on after an interruption, or with more methods or seeds:
    finished runs are kept.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from tool_arguments import Options

from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.analysis.suite.plan import plan
from mmsam_peft.analysis.suite.report import write_report
from mmsam_peft.analysis.suite.trials import Trials
from mmsam_peft.apis.run_name import run_name
from mmsam_peft.registry import PEFT


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        help='a config of a PEFTSegmentor; each method takes the place of its model.backbone.peft',
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        help='methods, calls of methods, and config files, which are trained as they '
        'are and must have the same test data (default: every registered method)',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/compare_peft/METHOD/NAME, with what the command line changes',
    )
    parser.add_argument('--task', help='the one task to train, of configs of several')
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='trainings at a time; above 1, times and memory are shared',
    )
    parser.add_argument(
        '--table-only',
        action='store_true',
        help='train nothing: table and plot of the results there are',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='settings to override, in all configs; those of '
        'the model only in configs of a PEFTSegmentor',
    )
    args = parser.parse_args()

    place = Path(args.config).resolve()
    work_dir = args.work_dir or Path(
        'work_dirs/compare_peft', run_name(args.config, args.cfg_options, args.task)
    )
    runs = plan(
        Cells(Path('configs'), args.cfg_options, args.task),
        [Data('', args.config)],
        args.methods or sorted(PEFT.module_dict),
        work_dir,
        seeds=args.seeds,
        check_files=not args.table_only,
    )
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # ends the trainings too
    failed = (
        []
        if args.table_only
        else Trials(Path(__file__).with_name('trial.py'), args.jobs).run_missing(runs)
    )
    print(write_report(runs, work_dir, f'{place.parent.name}/{place.stem}'))
    if failed:
        sys.exit(
            f'{len(failed)} of {len(runs)} runs failed: '
            f'{", ".join(str(run.folder) for run in failed)}'
        )


if __name__ == '__main__':
    main()
