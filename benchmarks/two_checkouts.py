"""A step of two checkouts of this repository, in turn: what a change of the code is worth.

OMP_NUM_THREADS=1 python benchmarks/two_checkouts.py ../before . --method LoRA --size 512
    Each checkout in a process of its own, one step after the other; processor seconds. Ratios are
    of the second to the first: median, least and greatest.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from mmsam_peft.analysis.machine import median_and_range, write_measured

WORKER = """
import sys, time, torch
from mmsam_peft.analysis.step_cost import Setting, _optimizer, step
from mmsam_peft.analysis.candidates import run
arch, size, batch, method = sys.argv[1:]
setting = Setting(arch, int(size), int(batch), 'float32', 'cpu')
encoder = setting.encoder(method)
optimizer, image = _optimizer(encoder), setting.image()
for line in sys.stdin:
    if line == 'training\\n':
        seconds = sum(step(encoder.train(), optimizer, image, setting))
    else:
        start = time.process_time()
        with torch.no_grad():
            run(encoder.eval(), image)
        seconds = time.process_time() - start
    print('seconds', seconds, flush=True)
"""


def seconds(process: subprocess.Popen, what: str) -> float:
    process.stdin.write(f'{what}\n')
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith('seconds '):
            return float(line.split()[1])
    raise RuntimeError(f'{process.args[-5:]} ended.')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkouts', nargs=2)
    parser.add_argument('--method', default='LoRA')
    parser.add_argument('--arch', default='base')
    parser.add_argument('--size', default='512')
    parser.add_argument('--batch', default='1')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    command = [sys.executable, '-c', WORKER, args.arch, args.size, args.batch, args.method]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = [subprocess.Popen(command, cwd=one, **pipes) for one in args.checkouts]
    rows = []
    for what in ('training', 'inference'):
        rounds = [[seconds(one, what) for one in processes] for _ in range(args.rounds + 1)][1:]
        ratios = median_and_range([after / before for before, after in rounds])
        medians = [median(one) for one in zip(*rounds, strict=True)]
        print(
            f'{what}: {medians[0]:.2f} s, {medians[1]:.2f} s,',
            '{:.3f} ({:.3f} to {:.3f})'.format(*ratios),
        )
        rows.append(dict(what=what, seconds=medians, ratio=ratios))
    for process in processes:
        process.communicate()
    if args.json:
        write_measured(args.json, 'cpu', rows)


if __name__ == '__main__':
    main()
