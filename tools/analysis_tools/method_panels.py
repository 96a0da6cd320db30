"""Images, the predictions of several methods and the truth side by side.

python tools/analysis_tools/method_panels.py LoRA=CONFIG,ADAPTER Conv-LoRA=CONFIG,ADAPTER \\
    --images 0 7 12 --box 7:40,60,120,90 --out panels.png
    takes images of the configs' test split by number; a box is NUMBER:X,Y,WIDTH,HEIGHT.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from mmsam_peft.analysis.method_panels import Box, load_method, method_panels
from mmsam_peft.analysis.picture_files import save_picture


def read_box(text: str) -> tuple[int, Box]:
    number, _, sides = text.partition(':')
    x, y, width, height = map(int, sides.split(','))
    return int(number), (x, y, width, height)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('methods', nargs='+', help='NAME=CONFIG,WEIGHTS')
    parser.add_argument('--images', type=int, nargs='+', default=[0, 1, 2], help='their numbers')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test')
    parser.add_argument(
        '--box', type=read_box, nargs='+', default=[], help='NUMBER:X,Y,WIDTH,HEIGHT'
    )
    parser.add_argument('--title', default='')
    parser.add_argument('--side', type=int, default=240, help='pixels of each picture')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis/panels.png'))
    parser.add_argument('--device')
    args = parser.parse_args()

    boxes = defaultdict(list)
    for number, box in args.box:
        boxes[number].append(box)
    if unseen := set(boxes) - set(args.images):
        parser.error(f'a box is in image {min(unseen)}, which is not among --images')
    methods = [load_method(text, args.split, args.device) for text in args.methods]
    picture = method_panels(methods, args.images, boxes, args.title, args.side)
    save_picture(picture, args.out)
    print(args.out)


if __name__ == '__main__':
    main()
