"""Everything that is to be measured on a GPU, in one run that can be taken up again.

python benchmarks/gpu.py
python benchmarks/gpu.py --data DIR    # as configs/_base_/datasets/custom.py says
python benchmarks/gpu.py --table       # the tables of docs/speed.md, from what was measured
    Writes one JSON after each part, and prints which goals are met. A part that fails is recorded
    with its error, and the others go on; run again, only what is missing or failed is measured.
    The peers of transformers need pip install -e '.[hf,peft]'. --device cpu --tiny tries all of it
    in minutes, on small networks.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_parts import PARTS, Run
from gpu_tables import tables

from mmsam_peft.analysis.machine import machine
from mmsam_peft.whole_files import write_whole

OUT = Path(__file__).with_name('results') / 'gpu.json'


def measure(run: Run, chosen: list[str], out: Path, report: Callable[[str], None] = print) -> dict:
    """Does the chosen parts that ``out`` lacks, and returns all that it has then.

    Raises:
        ValueError: The file was measured on another machine or in another size.
    """
    here = {**machine(run.device), 'tiny': run.tiny}
    del here['command']
    found = json.loads(out.read_text()) if out.exists() else dict(machine=here, parts={})
    if found['machine'] != here:
        raise ValueError(
            f'{out} was measured on {found["machine"]}, and this is {here}: choose another --out.'
        )
    for name in chosen:
        part = found['parts'].get(name)
        if part and 'error' not in part:
            report(f'{name}: there already')
            continue
        report(f'{name} ...')
        try:
            found['parts'][name] = PARTS[name](run)
        except Exception as error:  # whatever it is, the other parts are worth having
            found['parts'][name] = dict(error=f'{type(error).__name__}: {error}')
            report(f'  {found["parts"][name]["error"]}')
        if run.device != 'cpu':
            torch.cuda.set_sync_debug_mode('default')
            torch.cuda.empty_cache()
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, (json.dumps(found, indent=1) + '\n').encode())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='small networks and images')
    parser.add_argument('--parts', nargs='+', default=list(PARTS), choices=PARTS)
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--data', type=Path, help='for the training; by default drawn images')
    parser.add_argument('--out', type=Path, default=OUT)
    parser.add_argument('--table', action='store_true', help='print the tables, measure nothing')
    args = parser.parse_args()
    if args.table:
        print(tables(json.loads(args.out.read_text())))
        return
    if args.device != 'cpu' and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: no GPU is available to PyTorch here.')
    found = measure(Run(args.device, args.tiny, args.rounds, args.data), args.parts, args.out)
    print(tables(found))
    failed = [name for name in args.parts if 'error' in found['parts'][name]]
    if failed:
        parser.exit(1, f'failed: {", ".join(failed)}; run the command again for these alone\n')


if __name__ == '__main__':
    main()
