"""Trains a config: python tools/train.py configs/convlora/quickstart.py"""

import argparse

from tool_arguments import (
    MODEL,
    TRAINING,
    launch_arguments,
    options_of,
    quiet_imports,
    settings_arguments,
)


def parse() -> tuple[argparse.Namespace, dict]:
    """The arguments, and the options for the config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument(
        '--work-dir',
        help='where logs, pictures, checkpoints and adapters go (default: work_dirs/METHOD/NAME, '
        'with what the command line changes)',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in the work directory'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bf16',
        choices=['bf16', 'fp16'],
        help='mixed precision (default: bf16)',
    )
    parser.add_argument('--task', help='the one task to train, of a config of several')
    parser.add_argument('--tensorboard', action='store_true', help='also write TensorBoard logs')
    settings_arguments(parser, *MODEL, *TRAINING)
    launch_arguments(parser)
    args = parser.parse_args()
    return args, options_of(parser, args)


def main() -> None:
    args, options = parse()
    # what takes seconds to import comes after what a user may have mistyped
    from torch.distributed.elastic.multiprocessing.errors import record

    record(run)(args, options)  # torchrun ends its report with the error


def run(args: argparse.Namespace, options: dict) -> None:
    with quiet_imports():
        from mmsam_peft.apis.launch import load_config

        cfg = load_config(args.config, options, args.work_dir, args.launcher, args.task, args.amp)
        cfg.resume = args.resume or cfg.get('resume', False)
        if args.tensorboard:
            cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
        from mmsam_peft.apis.training import train
    train(cfg, args.config, changed=bool(options or args.task or args.amp))


if __name__ == '__main__':
    main()
