"""Trains and tests benchmark configs on real data, resumable, one JSON file each, and prints a Markdown table.

python benchmarks/run.py kvasir/lora kvasir/convlora --seeds 0 1 --data DIR --checkpoint FILE
    DIR: holds img_dir/ and ann_dir/ of the data set; FILE: encoder weights under SAM's keys (none for MMSegmentation's models)
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmsam_peft.apis.adapters import is_adaptable
from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.runs import load_config
from mmsam_peft.peft import count_parameters

HERE = Path(__file__).parent


def run(name: str, seed: int, args: argparse.Namespace) -> dict:
    config, work_dir = HERE / f'{name}.py', Path(args.work_dir, name, f'seed{seed}')
    result = work_dir / 'result.json'
    if result.exists():
        return json.loads(result.read_text())
    cfg = load_config(str(config))
    options = [f'{part}_dataloader.dataset.data_root={args.data}' for part in ('train', 'val', 'test')]
    options += [f'model.checkpoint={args.checkpoint}'] * is_adaptable(cfg)
    common = ['--work-dir', str(work_dir), '--cfg-options', *options]
    start = time.time()
    tool(['train.py', str(config), *common, f'randomness.seed={seed}'])
    seconds = time.time() - start
    weights = [*work_dir.glob('adapter_best.safetensors'), *work_dir.glob('best_*.pth')][0]
    tool(['test.py', str(config), str(weights), *common])
    scores = json.loads(max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime).read_text().splitlines()[-1])
    trained, _ = count_parameters(build_to_count(cfg))
    row = dict(name=name, seed=seed, seconds=round(seconds), trained=trained, file_bytes=weights.stat().st_size, **scores)
    result.write_text(json.dumps(row, indent=1))
    return row


def tool(command: list[str]) -> None:
    subprocess.run([sys.executable, str(HERE.parent / 'tools' / command[0]), *command[1:]], check=True)


def table(rows: list[dict]) -> str:
    metrics = [key for key in ('Dice', 'IoU', 'mIoU', 'aAcc', 'mAcc') if key in rows[0]]
    lines = [f'| config | seed | {" | ".join(metrics)} | trained parameters | file MB |', '|---' * (len(metrics) + 4) + '|']
    for row in rows:
        scores = ' | '.join(f'{row[key]:.2f}' for key in metrics)
        lines.append(f'| {row["name"]} | {row["seed"]} | {scores} | {row["trained"]:,} | {row["file_bytes"] / 1e6:.2f} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='names below this folder, of one data set: kvasir/lora')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--data', required=True)
    parser.add_argument('--checkpoint')
    parser.add_argument('--work-dir', default='work_dirs/benchmarks')
    args = parser.parse_args()
    print(table([run(name, seed, args) for name in args.configs for seed in args.seeds]))


if __name__ == '__main__':
    main()
