"""Seconds of a training step of whole models, of one config with each method in turn, all in one
process, on one batch.

OMP_NUM_THREADS=1 python benchmarks/train_step.py CONFIG --methods LoRA TALoRA
    Forward pass with losses, backward pass, optimizer; without reading data. Of the processor on a
    CPU. Ratios are to the first method in the same round: median, least and greatest.
"""

import argparse
from pathlib import Path
from statistics import median

from mmengine.config import DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmsam_peft.analysis.machine import clock, median_and_range
from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.apis.inference import default_device
from mmsam_peft.peft import count_parameters
from mmsam_peft.registry import MODELS, SCOPE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--methods', nargs='+', required=True, help='methods, or calls of methods')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--device', default=default_device())
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args()
    init_default_scope(SCOPE)
    cells = Cells(Path('configs'), args.cfg_options)
    configs = [cells.config(method, Data('', args.config)) for method in args.methods]
    batch = next(
        iter(
            Runner.build_dataloader(
                {**configs[0].train_dataloader, 'num_workers': 0, 'persistent_workers': False}
            )
        )
    )
    models = [MODELS.build(config.model).to(args.device).train() for config in configs]
    optimizers = [
        build_optim_wrapper(model, config.optim_wrapper)
        for model, config in zip(models, configs, strict=True)
    ]
    rounds = []
    for _ in range(args.rounds + 1):
        marks = [clock(args.device)]
        for model, optimizer in zip(models, optimizers, strict=True):
            model.train_step(batch, optimizer)
            marks.append(clock(args.device))
        rounds.append([end - start for start, end in zip(marks, marks[1:], strict=False)])
    print('| method | trained parameters | seconds of a step | ratio |\n|---|---:|---:|---:|')
    for number, (method, model) in enumerate(zip(args.methods, models, strict=True)):
        seconds = [one[number] for one in rounds[1:]]
        ratios = median_and_range([one[number] / one[0] for one in rounds[1:]])
        print(
            f'| `{method}` | {count_parameters(model)[0]:,} | {median(seconds):.3f} |',
            '{:.2f} ({:.2f} to {:.2f}) |'.format(*ratios),
        )


if __name__ == '__main__':
    main()
