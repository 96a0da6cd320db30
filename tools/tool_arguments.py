"""What the command lines of several tools share. Nothing here takes time to import: a tool's help
and a mistyped argument need no network."""

import argparse
import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mmengine.config import DictAction

NAMES = {
    '--image-size': (
        'image_size',
        dict(type=int, nargs='+', metavar='PIXELS', help='of the network: a side, or HEIGHT WIDTH'),
    ),
    '--encoder': (
        'encoder',
        dict(metavar='NAME', help='such as sam_vit_l, sam2.1_hiera_small: see docs/encoders.md'),
    ),
    '--method': ('method', dict(metavar='METHOD', help='of fine-tuning, such as "LoRA(rank=8)"')),
    '--lr': ('lr', dict(type=float, metavar='RATE', help='learning rate')),
    '--epochs': (
        'max_epochs',
        dict(type=int, metavar='N', help='how long to train; the schedule follows'),
    ),
    '--batch-size': (
        'batch_size',
        dict(type=int, metavar='N', help='images in a step of training'),
    ),
}
"""Shorthands for settings of mmsam_peft/apis/settings/: the setting, and the argument."""
WITHOUT_USE = (
    'Fail to import ``MultiScaleDeformableAttention``',
    'For binary segmentation, we suggest using',
    'Default ``avg_non_ignore`` is False',
)
"""The beginnings of warnings of MMCV and MMSegmentation on which a user cannot act."""
MODEL, TRAINING = ('--image-size', '--encoder', '--method'), ('--lr', '--epochs', '--batch-size')


class Options(DictAction):
    """MMEngine's ``KEY=VALUE``, which for ``method=LoRA(rank=8,alpha=16)`` recurses without end."""

    @staticmethod
    def _parse_iterable(val: str) -> object:
        called = val.strip('\'" ')
        return called if re.match(r'\w+\(', called) else DictAction._parse_iterable(val)


def settings_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """``--cfg-options``, and shorthands of ``NAMES``."""
    for name in names:
        setting, how = NAMES[name]
        parser.add_argument(name, dest=f'setting_{setting}', **how)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='settings to override: model.checkpoint=PATH ...',
    )


def launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which torchrun, Slurm and MPI start several processes."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def options_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict:
    """``--cfg-options`` with what the shorthands set; ends with the usage where one is said
    twice, or the config is not there."""
    options = dict(args.cfg_options or {})
    for name, (setting, _) in NAMES.items():
        value = getattr(args, f'setting_{setting}', None)
        if value is not None:
            if setting in options:
                parser.error(f'{name} and --cfg-options {setting}=...: say it once')
            options[setting] = value[0] if isinstance(value, list) and len(value) == 1 else value
    if hasattr(args, 'config') and not Path(args.config).is_file():
        parser.error(
            f'there is no config {args.config}; those of the zoo are configs/METHOD/DATA.py'
        )
    return options


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """While it lasts, packages are imported without the news that optional others are absent."""
    for message in WITHOUT_USE:
        warnings.filterwarnings('ignore', message=message)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if line != 'Could not import OneDL':
                print(line)


def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is shown of the error by which a tool ends: nothing where it was stopped by Ctrl-C, or
    where nobody reads on what it prints, as in ``| head``."""
    if issubclass(kind, KeyboardInterrupt):
        print('Stopped.', file=sys.stderr)
        return
    if issubclass(kind, BrokenPipeError):
        try:
            print(flush=True)  # or is it another pipe that broke?
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    sys.__excepthook__(kind, error, trace)


sys.excepthook = end
if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal has no letters for ends no tool
    sys.stdout.reconfigure(errors='backslashreplace')
