"""SAM's three masks of a point beside the output channels of a multi-task model.

python tools/analysis_tools/mask_channels.py IMAGE CONFIG WEIGHTS --sam FILE --point 320 240
    Without --sam, the channels alone; without --point, the middle of the image.
"""

import argparse
from pathlib import Path

from mmsam_peft.analysis.mask_channels import channel_sheet, channels_of, read_sam
from mmsam_peft.analysis.picture_files import save_picture
from mmsam_peft.apis.inference import init_model
from mmsam_peft.visualization.images import image_to_show


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image')
    parser.add_argument('config')
    parser.add_argument('weights')
    parser.add_argument('--sam', help="SAM's published weights")
    parser.add_argument('--point', type=float, nargs=2, metavar=('X', 'Y'), help='in pixels')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis/mask_channels.png'))
    args = parser.parse_args()

    model = init_model(args.config, args.weights)
    image = image_to_show(args.image, model.cfg.get('pixels'))
    point = args.point or (image.shape[1] / 2, image.shape[0] / 2)
    masks = read_sam(args.sam).masks(image, point) if args.sam else (None, None)
    picture = channel_sheet(image, channels_of(model, args.image), point, *masks)
    save_picture(picture, args.out)
    print(args.out)


if __name__ == '__main__':
    main()
