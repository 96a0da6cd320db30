"""Collects the results of single-task runs into the file that Delta_b, the average gain of a
multi-task model, is measured by.

python tools/train.py configs/lora_stl/nyuv2.py --task depth
python tools/test.py configs/lora_stl/nyuv2.py ADAPTER --task depth
    ... and so for each task; then, with RESULTS=work_dirs/lora_stl/nyuv2_task=*/*/*.json,
python tools/analysis_tools/single_task_baseline.py configs/talora/nyuv2.py $RESULTS --out stl.json
python tools/test.py configs/talora/nyuv2.py WEIGHTS --cfg-options test_evaluator.baseline=stl.json
"""

import argparse
import json
from pathlib import Path

from mmsam_peft.apis.launch import load_config
from mmsam_peft.evaluation.delta import collect_baseline, read_scores
from mmsam_peft.tasks import build_tasks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config', help='of the multi-task model: its tasks are those of the baseline'
    )
    parser.add_argument(
        'results',
        nargs='+',
        help='for each task a JSON file: what tools/test.py leaves in WORK_DIR/TIME/, '
        'or a result.json of compare_peft.py; they have to be of the same test images',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        help='the JSON file to write; its name will stand beside Delta_b',
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        help='those that count: seg/mIoU depth/RErr ... (default: all of each task)',
    )
    args = parser.parse_args()

    model = load_config(args.config).model
    if 'tasks' not in model:
        raise ValueError(
            f'{args.config} has a {model.type}, expected a config of several tasks, such as '
            'configs/talora/*.py.'
        )
    results = {path: read_scores(path) for path in args.results}
    baseline = collect_baseline(results, build_tasks(model.tasks), args.metrics)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(baseline, indent=1) + '\n')
    for task, metrics in baseline.items():
        print(f'{task}: ' + ', '.join(f'{metric} {value:.4f}' for metric, value in metrics.items()))
    print(f'Wrote {args.out}; use it with --cfg-options test_evaluator.baseline={args.out}')


if __name__ == '__main__':
    main()
