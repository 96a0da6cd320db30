"""Prints what images hold, and the setting `pixels` for a config that fits them.

python tools/analysis_tools/pixel_range.py IMAGES --bands 3 2 1
"""

import argparse

from mmsam_peft.apis.images import find_images
from mmsam_peft.datasets.pixels import survey_pixels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='a file, a folder or a quoted glob pattern')
    parser.add_argument(
        '--bands',
        type=int,
        nargs='+',
        help='which to use, the first is 1, red, green and blue before others (default: all)',
    )
    parser.add_argument(
        '--nodata', nargs='+', help='values of pixels that have none, beside those that files name'
    )
    args = parser.parse_args()

    try:
        print(survey_pixels(find_images(args.images), args.bands, args.nodata))
    except (OSError, ValueError) as error:
        parser.exit(1, f'{error}\n')


if __name__ == '__main__':
    main()
