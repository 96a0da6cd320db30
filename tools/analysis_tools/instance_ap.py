"""Average precision of predicted instances, by COCO's own program:
python tools/analysis_tools/instance_ap.py TRUTH outputs/instances.json

TRUTH is a COCO JSON with masks. See docs/prompts.md.
"""

import argparse

from mmsam_peft.evaluation.instance_metric import ap_of_files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('truth', help='a COCO JSON of the data set')
    parser.add_argument('found', help='the instances.json of tools/predict.py, or COCO results')
    parser.add_argument(
        '--any-class', action='store_true', help='classes do not count, as for --everything'
    )
    args = parser.parse_args()
    for name, value in ap_of_files(args.truth, args.found, not args.any_class).items():
        print(f'{name:10}{value:6.2f}')


if __name__ == '__main__':
    main()
