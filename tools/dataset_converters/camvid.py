"""Puts CamVid's original archives, 701 frames and masks of 32 colours, into the 11 classes and
splits of SegNet.

python tools/dataset_converters/camvid.py 701_StillsRaw_full LabeledApproved_full data/camvid
"""

import argparse
from pathlib import Path

from mmsam_peft.datasets import DatasetError
from mmsam_peft.datasets.camvid_archive import unpack_camvid


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', type=Path, help='701_StillsRaw_full')
    parser.add_argument('masks', type=Path, help='LabeledApproved_full')
    parser.add_argument('out', type=Path, help="the data set's data_root")
    args = parser.parse_args()
    try:
        written = sum(1 for _ in unpack_camvid(args.images, args.masks, args.out))
    except DatasetError as error:
        parser.error(str(error))
    print(f'{written} frames in {args.out}')


if __name__ == '__main__':
    main()
