"""Says whether a data set is complete: counts, pairs, sizes, values.

python tools/dataset_converters/verify.py configs/_base_/datasets/polyp.py [--data-root DIR]

Reads every image and mask of every split, and lists what is missing or wrong, and the folders that
are expected. Ends with 1 if anything is.
"""

import argparse

from mmsam_peft.apis.verify_data import verify_data


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='configs/_base_/datasets/NAME.py')
    parser.add_argument('--data-root', help="instead of the config's")
    args = parser.parse_args()
    complete = True
    for split, found, good in verify_data(args.config, args.data_root):
        print(f'{split}: {"" if good else "NOT AS PUBLISHED: "}{found}', flush=True)
        complete &= good
    return 0 if complete else 1


if __name__ == '__main__':
    raise SystemExit(main())
