"""The command line of tools that look at encoders."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmsam_peft.analysis.encoders import NOTATION, Encoder, load_encoder
from mmsam_peft.apis.images import find_images


def encoder_parser(description: str, images: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if images:
        parser.add_argument('images', help='a file, a folder or a quoted pattern')
        parser.add_argument('--number', type=int, default=16, help='so many of them, evenly spread')
        parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis'))
    parser.add_argument('encoders', nargs='+', help=NOTATION)
    parser.add_argument('--image-size', type=int, help="side; default: the encoder's own")
    for name in ('mean', 'std'):
        parser.add_argument(f'--{name}', type=float, nargs=3, help='of red, green and blue')
    parser.add_argument('--device', help='default: the GPU where there is one')
    return parser


def read_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> tuple[argparse.Namespace, list[Encoder], list[Path]]:
    """The arguments, the encoders that they name, and their images."""
    args = parser.parse_args(argv)
    names = [text.partition('=')[0] for text in args.encoders]
    if len(set(names)) < len(names):
        parser.error(f'two encoders have one name: {", ".join(names)}')
    paths = find_images(args.images) if 'images' in args else []
    if len(paths) > getattr(args, 'number', 0) > 0:
        paths = [paths[int(i)] for i in np.linspace(0, len(paths) - 1, args.number)]
    encoders = [
        load_encoder(text, args.image_size, args.mean, args.std, args.device)
        for text in args.encoders
    ]
    return args, encoders, paths
