"""The memory of a training step as fit.py counts it, beside what a real step on a CPU takes.

OMP_NUM_THREADS=1 python benchmarks/training_memory.py --encoders sam_vit_b sam_vit_l sam_vit_h \
    --methods lora convlora --json benchmarks/results/training_memory.json
    One image of 1024 x 1024, checkpointing, a bfloat16 base; random weights, as memory does not
    depend on them. A process for each, which --count leaves out: then steps are counted alone. An
    entry that --json has already is not measured again. GB are 10^9 bytes. The process is started
    as fit.py says, with MALLOC_MMAP_THRESHOLD_.
python benchmarks/training_memory.py --table benchmarks/results/training_memory.json
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from mmsam_peft.analysis.fit import CPU_OVERHEAD, MMAP, SLACK
from mmsam_peft.analysis.machine import peak
from mmsam_peft.analysis.measured_memory import allocated_peak
from mmsam_peft.analysis.training_step import TrainingStep, build, count_step
from mmsam_peft.apis.launch import load_config
from mmsam_peft.models.backbones.sam_vit import ARCHS
from mmsam_peft.whole_files import write_whole


def options_of(run: dict) -> dict:
    options = {'encoder': run['encoder'], 'image_size': run['size']}
    if run['checkpointing']:
        options['model.backbone.checkpointing'] = True
    if run['base_dtype'] != 'float32':
        options['model.backbone.base_dtype'] = run['base_dtype']
    return options


def measure(run: dict, count: bool) -> dict:
    """Peaks in bytes: counted, resident in this process in two steps, and allocated."""
    cfg = load_config(f'configs/{run["method"]}/kvasir.py', options_of(run))
    if run['depth']:
        whole = ARCHS[cfg.model.backbone.arch]
        places = dict(depth=run['depth'], global_attn_indexes=(run['depth'] - 1,))
        cfg.model.backbone.arch = {**whole, **places}
    cost = count_step(cfg, 1)
    found = dict(counted=cost.peak, weights=cost.weights, trained=cost.trained)
    if not count:
        step = TrainingStep(build(cfg), cfg, 1)
        step()
        step()
        found['resident'] = peak('cpu')
        del step
        found['allocated'] = allocated_peak(cfg, 1)
    return found


def table(runs: list[dict]) -> str:
    lines = [
        '| | weights | counted | allocated | counted / allocated | `fit.py`, for a CPU | process |',
        '|---|---:|---:|---:|---:|---:|---:|',
    ]
    for run in runs:
        name = ', '.join(str(run[key]) for key in ('encoder', 'method', 'base_dtype'))
        name += ', checkpointing' if run['checkpointing'] else ''
        real = run.get('allocated')
        name += f', {run["depth"]} blocks' if run['depth'] else ''
        said = SLACK * run['counted'] + CPU_OVERHEAD
        cells = [run['weights'], run['counted'], real, said, run.get('resident')]
        shown = ['' if cell is None else f'{cell / 1e9:.2f}' for cell in cells]
        shown.insert(3, f'{run["counted"] / real:.2f}' if real else '')
        lines.append(f'| {name} | {" | ".join(shown)} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--encoders', nargs='+', default=['sam_vit_b'])
    parser.add_argument('--methods', nargs='+', default=['lora', 'convlora'], help='of configs/')
    parser.add_argument('--base-dtypes', nargs='+', default=['bfloat16'])
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument(
        '--depth', type=int, help='of the blocks so many, the last of them global, for less time'
    )
    parser.add_argument('--no-checkpointing', action='store_true')
    parser.add_argument('--count', action='store_true')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--table', type=Path)
    parser.add_argument('--one', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.table.read_text())))
        return
    if args.one:
        print(json.dumps(measure(args.one, args.count)))
        return
    runs = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    for encoder in args.encoders:
        for method in args.methods:
            for base_dtype in args.base_dtypes:
                run = dict(
                    encoder=encoder,
                    method=method,
                    base_dtype=base_dtype,
                    size=args.size,
                    depth=args.depth,
                    checkpointing=not args.no_checkpointing,
                )
                needed = 'counted' if args.count else 'allocated'
                if any(run.items() <= one.items() and needed in one for one in runs):
                    continue
                command = [sys.executable, __file__, '--one', json.dumps(run)]
                command += ['--count'] if args.count else []
                env = {**os.environ, **dict([MMAP.split('=')])}
                out = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, check=True, env=env
                ).stdout
                runs = [one for one in runs if not run.items() <= one.items()]
                runs.append({**run, **json.loads(out.splitlines()[-1])})
                if args.json:
                    write_whole(args.json, json.dumps(runs, indent=1).encode())
    print(table(runs))


if __name__ == '__main__':
    main()
