"""Looks at images and labels and writes a config to train on them:
python tools/start.py IMAGES [LABELS]

IMAGES is a folder of images, and LABELS of their masks; or IMAGES alone is a folder of both, such
as images/ and masks/, train/ and val/, or a.jpg beside a_mask.png. Nothing is copied, moved or
changed. Written are a config of at most 20 lines, with the reason for each of them, and lists of
the images to train, validate and test with.
"""

import argparse
import sys
from pathlib import Path

from tool_arguments import quiet_imports


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', type=Path, metavar='IMAGES')
    parser.add_argument('labels', type=Path, nargs='?', metavar='LABELS')
    parser.add_argument('--out', type=Path, help='folder to write to (default: my_configs/NAME)')
    parser.add_argument('--classes', nargs='+', help='their names, in the order of their numbers')
    parser.add_argument(
        '--mask-values',
        choices=['index', 'binary01', 'binary255', 'colours'],
        help='how masks are stored, where that is not found right',
    )
    parser.add_argument(
        '--bands',
        type=int,
        nargs='+',
        metavar='BAND',
        help='of images of more than three, those to use, the first is 1; red, green and blue '
        'before others (default: all)',
    )
    parser.add_argument(
        '--method',
        default='ConvLoRA',
        help="such as LoRA or 'LoRA(rank=8)', see docs/methods.md (default: %(default)s)",
    )
    parser.add_argument(
        '--encoder',
        default='sam_vit_b',
        help='such as sam_vit_l or sam2.1_hiera_small, see docs/encoders.md; or small, which comes '
        'with the package, is not SAM, and is for trying things out (default: %(default)s)',
    )
    parser.add_argument(
        '--checkpoint',
        help="a file of the encoder's weights that is here already, or its address: hf://OWNER/NAME",
    )
    parser.add_argument('--image-size', type=int, help='side of what the network sees, in pixels')
    parser.add_argument(
        '--split',
        nargs=3,
        type=float,
        metavar=('TRAIN', 'VAL', 'TEST'),
        default=(0.7, 0.15, 0.15),
        help='shares of the images (default: 0.7 0.15 0.15); folders train, val and test are kept '
        'as they are',
    )
    parser.add_argument(
        '--resplit', action='store_true', help='divide anew what is in such folders'
    )
    parser.add_argument(
        '--group-by-prefix',
        nargs='?',
        type=int,
        const=0,
        metavar='LETTERS',
        help='keep images together whose names begin alike: with so many letters, or with all '
        'before the last number (patient7_slice012)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split and of the training')
    parser.add_argument('--no-timing', action='store_true', help='do not try a few steps')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier config')
    args = parser.parse_args()
    if any(share < 0 for share in args.split) or not args.split[0] or not args.split[1]:
        parser.error(f'--split {args.split}: expected shares from 0 on, of train and val above 0')

    with quiet_imports():
        from mmsam_peft.datasets import DatasetError
        from mmsam_peft.safe_load import local_weights
        from mmsam_peft.start.start import Request, start

    request = Request(
        images=args.images,
        labels=args.labels,
        out=args.out,
        method=args.method,
        encoder=args.encoder,
        checkpoint=Path(local_weights(args.checkpoint)) if args.checkpoint else None,
        image_size=args.image_size,
        classes=args.classes,
        mask_values=args.mask_values,
        bands=args.bands,
        prefix=args.group_by_prefix,
        shares=args.split,
        resplit=args.resplit,
        seed=args.seed,
        timing=not args.no_timing,
        overwrite=args.overwrite,
    )
    train = Path(sys.argv[0]).with_name('train.py').as_posix()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        start(request, ask=input if terminal else None, train=f'python {train}')
    except (DatasetError, FileExistsError, ImportError, OSError, ValueError) as error:
        sys.exit(f'{parser.prog}: {error}')


if __name__ == '__main__':
    main()
