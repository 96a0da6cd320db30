"""Writes annotations of any format as masks of class numbers.

python tools/dataset_converters/labels_to_masks.py ANNOTATIONS IMAGES OUT

ANNOTATIONS is COCO JSON, YOLO polygons, LabelMe JSON, Pascal VOC's masks, CVAT's or Label Studio's
export, or a folder of masks of any kind; IMAGES the folder of the images. Writes OUT/NAME.png for
each annotated image, 0 for the background, 255 for ignored pixels, and OUT/classes.txt, which names
0, 1, 2, ... Masks that are there and were made from the same stay, so that it can be stopped and
started again.

Without --classes, every category is a class, in the order of the format's own list. With it, the
classes are those that are named, in that order, after the background:

    --classes road vehicle=car,bus --others background
"""

import argparse
import sys
from pathlib import Path

from mmsam_peft.datasets.checks.problems import DatasetError
from mmsam_peft.datasets.labels import find_annotations
from mmsam_peft.datasets.labels.annotations import OTHERS
from mmsam_peft.datasets.labels.convert import write_masks

BACKGROUND = 'background'
LISTED = 20


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', type=Path)
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME[=CATEGORY,...]', help='classes after the background'
    )
    parser.add_argument(
        '--others',
        choices=list(OTHERS),
        default='error',
        help='what objects of other categories are (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace masks that were made from something else'
    )
    args = parser.parse_args(arguments)
    try:
        found = find_annotations(args.annotations, args.images)
        print(found.describe())
        split = [name.partition('=') for name in args.classes or found.categories]
        members = {name: given.split(',') for name, equals, given in split if equals}
        classes = [BACKGROUND, *dict.fromkeys(name for name, *_ in split)]
        if args.classes is None:
            members, classes = {}, [BACKGROUND, *found.categories]
        selected = found.select(classes, members, args.others)
        faults = [f'{kind}: {line}' for kind, lines in found.problems.items() for line in lines]
        faults += write_masks(selected, classes, args.out, args.overwrite)
    except DatasetError as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    for note in found.notes:
        print(note)
    print(f'{len(found.images)} images, classes: {", ".join(classes)}')
    if faults:
        listed = '\n'.join(f'  {line}' for line in faults[:LISTED])
        more = f'\n  ... and {len(faults) - LISTED} more' if len(faults) > LISTED else ''
        sys.exit(f'{len(faults)} masks are not there:\n{listed}{more}')


if __name__ == '__main__':
    main()
