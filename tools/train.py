"""Trains a config: python tools/train.py configs/convlora/quickstart.py"""

import argparse

from mmengine.config import DictAction
from torch.distributed.elastic.multiprocessing.errors import record

from mmsam_peft.apis.launch import launch_arguments, load_config
from mmsam_peft.apis.training import train


@record  # torchrun ends its report with the error
def main() -> None:
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings to override: model.checkpoint=PATH ...',
    )
    launch_arguments(parser)
    args = parser.parse_args()

    cfg = load_config(
        args.config, args.cfg_options, args.work_dir, args.launcher, args.task, args.amp
    )
    cfg.resume = args.resume or cfg.get('resume', False)
    if args.tensorboard:
        cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
    train(cfg)


if __name__ == '__main__':
    main()
