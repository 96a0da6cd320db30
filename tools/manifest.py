"""Writes OUT/manifest.csv of a job of tools/predict_many.py or ray_predict.py, a line for each
image, and says how many are done; ends with 1 where some are not.

python tools/manifest.py IMAGES OUT
"""

import argparse
import sys

from tool_arguments import quiet_imports


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='as the job got them')
    parser.add_argument('out', help='as the job got it')
    args = parser.parse_args()
    with quiet_imports():
        from mmsam_peft.apis.at_scale.manifest import DONE, PLACE, TABLE, merge
        from mmsam_peft.apis.at_scale.stores import Folder, list_images
    out = Folder(args.out)
    if not out.files(PLACE):
        parser.error(f'{args.out} has no {PLACE}: no job has predicted there')
    counts = merge(out, list_images(args.images)[1])
    print(f'{args.out}/{TABLE}: ' + ', '.join(f'{counts[one]} {one}' for one in sorted(counts)))
    sys.exit(counts.keys() != {DONE})


if __name__ == '__main__':
    main()
