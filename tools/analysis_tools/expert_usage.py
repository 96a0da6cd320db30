"""Which of Conv-LoRA's experts the gates pick, by block, scale and image.

python tools/analysis_tools/expert_usage.py CONFIG ADAPTER --out DIR
    prints a table, and writes usage.csv, images.csv and usage.png.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from tool_arguments import Options

from mmsam_peft.analysis.expert_usage import image_table, plot_usage, usage_of, usage_table
from mmsam_peft.apis.launch import load_config
from mmsam_peft.whole_files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('adapter')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/expert_usage'))
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='val')
    parser.add_argument('--images', type=int, help='so many of the split (default: all)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=Options, help='settings to override: model.checkpoint'
    )
    args = parser.parse_args()

    config = load_config(args.config, args.cfg_options)
    uses, paths = usage_of(config, args.adapter, args.split, args.images)
    table = usage_table(uses)
    args.out.mkdir(parents=True, exist_ok=True)
    write_whole(args.out / 'usage.csv', table.csv().encode())
    write_whole(args.out / 'images.csv', image_table(uses, paths).csv().encode())
    plot_usage(uses, args.out / 'usage.png', f'{Path(args.adapter).name} on {args.split}')
    print(table.markdown())


if __name__ == '__main__':
    main()
