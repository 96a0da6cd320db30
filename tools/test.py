"""Tests a checkpoint or an adapter file: python tools/test.py CONFIG adapter_best.safetensors"""

import argparse
from contextlib import nullcontext
from pathlib import Path

from tool_arguments import MODEL, launch_arguments, options_of, quiet_imports, settings_arguments


def parse() -> tuple[argparse.Namespace, dict]:
    """The arguments, and the options for the config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument(
        'weights',
        help='adapter (.safetensors; the config names its base weights) or checkpoint (.pth)',
    )
    parser.add_argument('--work-dir', help='where the log goes (default: that of the training)')
    parser.add_argument('--task', help='the one task that was trained, of a config of several')
    parser.add_argument('--out', help='folder for the predicted masks; TASK/NAME for several tasks')
    parser.add_argument(
        '--show-dir', help='folder for pictures of prediction and ground truth, side by side'
    )
    parser.add_argument(
        '--tta', action='store_true', help="average over the views of the config's tta_pipeline"
    )
    parser.add_argument(
        '--clicks',
        action='store_true',
        help='also count the clicks that a robot user needs for each object (NoC@85, NoC@90)',
    )
    parser.add_argument('--amp', action='store_true', help='compute in bfloat16')
    settings_arguments(parser, *MODEL)
    launch_arguments(parser)
    args = parser.parse_args()
    return args, options_of(parser, args)


def main() -> None:
    args, options = parse()
    # what takes seconds to import comes after what a user may have mistyped
    from torch.distributed.elastic.multiprocessing.errors import record

    record(run)(args, options)  # torchrun ends its report with the error


def run(args: argparse.Namespace, options: dict) -> None:
    if '://' not in args.weights and not Path(args.weights).is_file():
        raise FileNotFoundError(
            f'There is no file {args.weights}; training writes adapter_best.safetensors and '
            'adapter_last.safetensors into its work directory.'
        )
    with quiet_imports():
        from mmsam_peft.apis.launch import load_config

        cfg = load_config(args.config, options, args.work_dir, args.launcher, args.task)

        import torch
        from mmengine.runner.amp import autocast

        from mmsam_peft.apis.inference import require_adaptable
        from mmsam_peft.apis.launch import build_runner, warn_of_slow_bf16
        from mmsam_peft.apis.screen import ScreenHook
        from mmsam_peft.apis.testing import prepare_test
        from mmsam_peft.safe_load import local_weights

        args.weights = str(local_weights(args.weights))
        require_adaptable(cfg, args.weights)
    prepare_test(cfg, args.weights, args.out, args.show_dir, args.tta, args.amp, args.clicks)
    if args.amp:
        warn_of_slow_bf16()
    runner = build_runner(cfg, quiet=True)
    runner.register_hook(ScreenHook(args.config))
    with autocast(dtype=torch.bfloat16) if args.amp else nullcontext():
        runner.test()


if __name__ == '__main__':
    main()
