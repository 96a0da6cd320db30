"""Puts one of AutoGluon's archives (train.csv, val.csv, test*.csv) into the folders of our data
sets.

python tools/dataset_converters/autogluon_csv.py polyp data/polyp \
    --tests Kvasir CVC-612=CVC-ClinicDB
python tools/dataset_converters/autogluon_csv.py camo_sem_seg data/camo --tests CAMO

Writes img_dir/{train,val,test} and ann_dir/{train,val,test}; with several test sets,
test/NAME. A test.csv of a set that has names is test_NAME.csv: rename it first.
"""

import argparse
from pathlib import Path

from mmsam_peft.datasets import DatasetError
from mmsam_peft.datasets.csv_archive import unpack_csv


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archive', type=Path, help='the folder with train.csv')
    parser.add_argument('out', type=Path, help="the data set's data_root")
    parser.add_argument('--tests', nargs='+', default=[], metavar='NAME or NAME=TABLE')
    args = parser.parse_args()
    try:
        counts = unpack_csv(args.archive, args.out, args.tests)
    except DatasetError as error:
        parser.error(str(error))
    for split, count in counts.items():
        print(f'{split}: {count} images')


if __name__ == '__main__':
    main()
