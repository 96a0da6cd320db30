"""Processor seconds until a tool says something: imports, help, mistyped arguments.

python benchmarks/start_up.py --json benchmarks/results/start_up.json
python benchmarks/start_up.py --against OTHER
    runs alternately with the version that lies in the folder OTHER
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
TRAIN, CONFIG = 'tools/train.py', 'configs/convlora/kvasir.py'
CASES = {
    'import torch': ['-c', 'import torch'],
    'import mmseg.apis': ['-c', 'import mmseg.apis'],
    'import mmsam_peft': ['-c', 'import mmsam_peft'],
    'train.py --help': [TRAIN, '--help'],
    'mistyped config': [TRAIN, 'configs/convlora/kvsir.py'],
    'mistyped key': [TRAIN, CONFIG, '--cfg-options', 'model.bakbone.arch=huge'],
}


def seconds(arguments: list[str], place: Path) -> float:
    """Of one process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, '-W', 'ignore', *arguments],
        cwd=place,
        env={**os.environ, 'PYTHONPATH': str(place), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--against', type=Path, help='the folder of another version')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    sides = dict(this=ROOT, **(dict(other=args.against.resolve()) if args.against else {}))
    runs = {name: {case: [] for case in CASES} for name in sides}
    for _ in range(args.rounds):
        for case, arguments in CASES.items():
            for name, place in sides.items():
                runs[name][case].append(round(seconds(arguments, place), 2))
    for case in CASES:
        shown = [
            f'{name} {median(found[case])} ({min(found[case])} to {max(found[case])})'
            for name, found in runs.items()
        ]
        print(f'{case}: {", ".join(shown)}')
    if args.json:
        args.json.write_text(json.dumps(runs, indent=1) + '\n')


if __name__ == '__main__':
    main()
