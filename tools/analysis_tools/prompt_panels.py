"""Clicks, boxes and what a model makes of them, on generated scenes.

python tools/analysis_tools/prompt_panels.py CONFIG --out panels.jpg
    of the config's base weights; or of an adapter: [CONFIG] --weights ADAPTER
"""

import argparse
from pathlib import Path

from mmsam_peft.analysis.picture_files import save_picture
from mmsam_peft.analysis.prompt_panels import prompt_panels
from mmsam_peft.apis import Predictor, init_model
from mmsam_peft.apis.objects.instance_files import PROMPTS_ON


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?')
    parser.add_argument('--weights', help='an adapter or a checkpoint')
    parser.add_argument(
        '--scenes', type=int, nargs='+', default=[100002, 100014, 100020], help='their seeds'
    )
    parser.add_argument('--clicks', type=int, default=3)
    parser.add_argument('--side', type=int, default=190, help='pixels of each picture')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis/prompts.jpg'))
    parser.add_argument('--device')
    args = parser.parse_args()
    if not args.config and not args.weights:
        parser.error('give a config, or --weights ADAPTER')

    model = init_model(args.config, args.weights, args.device, PROMPTS_ON)
    save_picture(prompt_panels(Predictor(model), args.scenes, args.clicks, args.side), args.out)
    print(args.out)


if __name__ == '__main__':
    main()
