"""Writes report.html of a training, or of a test in its work directory:
python tools/analysis_tools/report.py WORK_DIR"""

import argparse

from mmsam_peft.visualization.report import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', help='the work directory of tools/train.py')
    args = parser.parse_args()
    print(write_report(args.work_dir))


if __name__ == '__main__':
    main()
